//! The control routes under `/_sandbox`, and the layer that counts every other request and plays its faults.

use axum::body::Bytes;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::{Fault, Trouble};
use crate::ledger::{Counts, Ledger};
use crate::moyasar::books::PayRefusal;
use crate::moyasar::cards::{Card, CardFlow, MADA_APPROVED};
use crate::moyasar::errors::ApiError;
use crate::moyasar::invoices::Invoice;
use crate::moyasar::payments::Payment;
use crate::operations::{Operation, Service};
use crate::server::Reset;
use crate::world::{World, lock};
use crate::{pager, posthog, sentry};

pub(crate) fn routes() -> Router<World> {
    Router::new()
        .route("/_sandbox/ledger", get(async |State(world): State<World>| Json(Ledger::of(&world))))
        .route("/_sandbox/counts", get(async |State(world): State<World>| Json(Counts::of(&world))))
        .route("/_sandbox/faults", get(list_faults).post(arm_fault).delete(clear_faults))
        .route(
            "/_sandbox/freeze",
            post(async |State(world): State<World>| set_frozen(&world, true)),
        )
        .route("/_sandbox/thaw", post(async |State(world): State<World>| set_frozen(&world, false)))
        .route("/_sandbox/clock", post(move_clock))
        .route("/_sandbox/invoices/{id}/pay", post(pay_invoice))
        .route("/_sandbox/invoices/{id}/expire", post(expire_invoice))
        .route("/_sandbox/payments/{id}/refund", post(refund_payment))
        .route("/_sandbox/payments/{id}/capture", post(capture_payment))
        .route("/_sandbox/payments/{id}/void", post(void_payment))
        .route("/_sandbox/payments/{id}/status", post(set_payment_status))
        .route("/_sandbox/webhooks/flush", post(flush_webhooks))
        .route("/_sandbox/webhooks/forge", post(forge_webhook))
}

/// A control request that makes no sense; the text says what would.
struct Mistake(StatusCode, String);

impl IntoResponse for Mistake {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<ApiError> for Mistake {
    fn from(error: ApiError) -> Self {
        Self(error.status, error.body.message)
    }
}

impl From<PayRefusal> for Mistake {
    fn from(refusal: PayRefusal) -> Self {
        match refusal {
            PayRefusal::NoSuchInvoice => Self(StatusCode::NOT_FOUND, "no such invoice".to_owned()),
            PayRefusal::NotPayable(status) => {
                Self(StatusCode::CONFLICT, format!("the invoice is {}", status.as_str()))
            }
            PayRefusal::BadCard(mistakes) => {
                let fields: Vec<&str> = mistakes.iter().map(|mistake| mistake.field()).collect();
                let error = format!("the card is wrong: {}", fields.join(", "));
                Self(StatusCode::UNPROCESSABLE_ENTITY, error)
            }
        }
    }
}

/// An empty body is an empty object.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Mistake> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Mistake(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

async fn list_faults(State(world): State<World>) -> Json<Value> {
    Json(json!({"faults": world.faults.to_json(), "is_frozen": *world.frozen.borrow()}))
}

async fn arm_fault(State(world): State<World>, body: Bytes) -> Result<Response, Mistake> {
    let fault = Fault::from_json(&body)
        .map_err(|error| Mistake(StatusCode::UNPROCESSABLE_ENTITY, error))?;
    let id = world.faults.arm(fault);
    Ok((StatusCode::CREATED, Json(json!({"id": id}))).into_response())
}

async fn clear_faults(State(world): State<World>) -> StatusCode {
    world.faults.clear();
    StatusCode::NO_CONTENT
}

fn set_frozen(world: &World, is_frozen: bool) -> Json<Value> {
    world.frozen.send_replace(is_frozen);
    Json(json!({"is_frozen": is_frozen}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveClock {
    now: Option<DateTime<Utc>>,
    advance_s: Option<i32>,
}

async fn move_clock(State(world): State<World>, body: Bytes) -> Result<Json<Value>, Mistake> {
    let request: MoveClock = read(&body)?;
    if let Some(now) = request.now {
        world.clock.set(now);
    }
    if let Some(seconds) = request.advance_s {
        world.clock.advance(TimeDelta::seconds(seconds.into()));
    }
    Ok(Json(json!({"now": world.clock.now()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayInvoice {
    card: Option<String>,
    name: Option<String>,
    #[serde(default)]
    flow: FlowName,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum FlowName {
    #[default]
    Charge,
    Authorize,
    Begin,
}

async fn pay_invoice(
    State(world): State<World>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Payment>, Mistake> {
    let request: PayInvoice = read(&body)?;
    let flow = match request.flow {
        FlowName::Charge => CardFlow::Charge,
        FlowName::Authorize => CardFlow::Authorize,
        FlowName::Begin => CardFlow::Begin,
    };
    let mut card: Card = MADA_APPROVED.with_flow(flow);
    if let Some(number) = request.card {
        card.number = number.replace([' ', '-'], "").into();
    }
    if let Some(name) = request.name {
        card.name = name.into();
    }
    Ok(Json(world.pay(&id, &card)?))
}

async fn expire_invoice(
    State(world): State<World>,
    Path(id): Path<String>,
) -> Result<Json<Invoice>, Mistake> {
    let now = world.clock.now();
    let invoice = lock(&world.books).expire_invoice(&id, now)?;
    Ok(Json(invoice))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Amount {
    amount: Option<i64>,
}

async fn refund_payment(
    State(world): State<World>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Payment>, Mistake> {
    let Amount { amount } = read(&body)?;
    Ok(Json(world.refund(&id, amount)?))
}

async fn capture_payment(
    State(world): State<World>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Payment>, Mistake> {
    let Amount { amount } = read(&body)?;
    Ok(Json(world.capture(&id, amount)?))
}

async fn void_payment(
    State(world): State<World>,
    Path(id): Path<String>,
) -> Result<Json<Payment>, Mistake> {
    Ok(Json(world.void(&id)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetStatus {
    status: String,
}

async fn set_payment_status(
    State(world): State<World>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Payment>, Mistake> {
    let SetStatus { status } = read(&body)?;
    Ok(Json(world.force_status(&id, &status)?))
}

/// Answers when everything that was due has been tried.
async fn flush_webhooks(State(world): State<World>) -> StatusCode {
    world.courier.flush();
    world.courier.settled().await;
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forge {
    body: Value,
}

/// A text is posted as it is, anything else as JSON.
async fn forge_webhook(State(world): State<World>, body: Bytes) -> Result<Response, Mistake> {
    let Forge { body } = read(&body)?;
    let bytes = body.as_str().map_or_else(|| body.to_string(), str::to_owned).into_bytes();
    let answer = world
        .forge(bytes)
        .await
        .map_err(|error| Mistake(StatusCode::BAD_GATEWAY, error.to_string()))?;
    Ok(Json(answer).into_response())
}

/// Counts the request and plays the faults that meet it.
pub(crate) async fn meet(State(world): State<World>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let operation = path.and_then(|path| Operation::of(request.method().as_str(), path));
    let Some(operation) = operation else { return next.run(request).await };
    world.count_request(operation);
    let plan = world.faults.take_for_request(operation);
    let reset = request.extensions().get::<Reset>().cloned();
    tokio::time::sleep(plan.latency_before).await;
    if let Some(trouble) = &plan.before {
        return strike(trouble, operation.service(), reset).await;
    }
    let answer = next.run(request).await;
    tokio::time::sleep(plan.latency_after).await;
    match &plan.after {
        Some(trouble) => strike(trouble, operation.service(), reset).await,
        None => answer,
    }
}

async fn strike(trouble: &Trouble, service: Service, reset: Option<Reset>) -> Response {
    match trouble {
        Trouble::Latency(wait) => {
            tokio::time::sleep(*wait).await;
            StatusCode::OK.into_response()
        }
        Trouble::Hang => std::future::pending().await,
        Trouble::Reset => {
            if let Some(Reset(reset)) = reset {
                reset.cancel();
            }
            std::future::pending().await
        }
        Trouble::Malformed => {
            ([(header::CONTENT_TYPE, "application/json")], "{\"id\":\"6f0c").into_response()
        }
        Trouble::Status { code, retry_after } => {
            let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut answer = match service {
                Service::Moyasar => ApiError::of_status(status).into_response(),
                Service::Posthog => posthog::refusal(status, "A fault was asked for."),
                Service::Sentry => sentry::refusal(status, "a fault was asked for"),
                Service::Pager => pager::refusal(status, "a fault was asked for"),
            };
            if let Some(seconds) = retry_after {
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            answer
        }
    }
}
