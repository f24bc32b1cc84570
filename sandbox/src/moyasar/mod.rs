//! Moyasar on the wire: the routes under `/v1`, the hosted payment page, and who may use them.

pub(crate) mod books;
pub mod cards;
pub(crate) mod errors;
pub(crate) mod invoices;
mod listing;
mod metadata;
mod money;
pub(crate) mod page;
pub(crate) mod payments;
pub(crate) mod webhooks;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use reqwest::header::HeaderValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use self::errors::{ApiError, blocked_by_the_proxy};
use crate::world::World;

/// The API, behind its key, and the page, open to every payer.
pub(crate) fn routes(world: &World) -> Router<World> {
    api().route_layer(from_fn_with_state(world.clone(), authenticate)).merge(page::routes())
}

/// Puts an `x-request-id` on every answer.
pub(crate) fn with_request_ids(router: Router<World>) -> Router<World> {
    router.layer(from_fn(request_id))
}

fn api() -> Router<World> {
    Router::new()
        .route("/v1/invoices", get(invoices::list_invoices).post(invoices::create_invoice))
        .route("/v1/invoices/{id}", get(invoices::fetch_invoice).put(invoices::update_invoice))
        .route("/v1/invoices/{id}/cancel", put(invoices::cancel_invoice))
        .route("/v1/payments", get(payments::routes::list_payments))
        .route(
            "/v1/payments/{id}",
            get(payments::routes::fetch_payment).put(payments::routes::update_payment),
        )
        .route("/v1/payments/{id}/refund", post(payments::routes::refund_payment))
        .route("/v1/payments/{id}/capture", post(payments::routes::capture_payment))
        .route("/v1/payments/{id}/void", post(payments::routes::void_payment))
        .route("/v1/webhooks", get(webhooks::list_webhooks).post(webhooks::create_webhook))
        .route("/v1/webhooks/{id}", get(webhooks::fetch_webhook).delete(webhooks::delete_webhook))
        .route("/v1/webhooks/{id}/verify", post(webhooks::verify_webhook))
        .route("/v1/webhooks/available_events", get(webhooks::list_available_events))
        .route("/v1/webhooks/attempts", get(webhooks::list_webhook_attempts))
        .route("/v1/webhooks/attempts/{id}", get(webhooks::fetch_webhook_attempt))
        .route("/v1/{*unknown}", any(async || ApiError::not_found()))
}

/// The `Authorization` headers of the two keys.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) secret: HeaderValue,
    pub(crate) publishable: HeaderValue,
}

async fn authenticate(State(world): State<World>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if headers.get(header::USER_AGENT).is_none_or(HeaderValue::is_empty) {
        return blocked_by_the_proxy();
    }
    match headers.get(header::AUTHORIZATION) {
        Some(given) if *given == world.keys.secret => next.run(request).await,
        Some(given) if *given == world.keys.publishable => ApiError::forbidden().into_response(),
        Some(_) | None => ApiError::unauthenticated().into_response(),
    }
}

async fn request_id(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// The body as a JSON object, or the refusal.
fn json_object(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, ApiError> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !media_type.is_some_and(|media_type| media_type.starts_with("application/json")) {
        return Err(ApiError::refused("The body must be application/json."));
    }
    serde_json::from_slice(body).map_err(|_| ApiError::refused("The body is not a JSON object."))
}
