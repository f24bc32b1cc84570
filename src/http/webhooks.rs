//! Where the payment provider tells us what happened: `/api/v1/webhooks/moyasar`.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::flows::checkout::prompt_look::PromptLook;
use crate::flows::webhooks::inbox::{Delivery, Inbox, InboxError, Receipt, Received};
use crate::http::edge::{RateLimits, RequestContext};
use crate::http::extract::{Json, Path, RawBody};
use crate::http::problem::{Problem, STORAGE_RETRY_AFTER};

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(receive_moyasar_event))
        .routes(routes!(receive_moyasar_event_at_old_path))
        .routes(routes!(receive_moyasar_invoice))
}

/// What became of an event.
#[derive(Serialize, ToSchema)]
struct EventReceived {
    /// `ok`: new and durable. `duplicate`: it was durable already. `ignored`: durable, and moves no
    /// money of ours. `dlq`: durable in the dead-letter queue, because Postgres did not confirm it.
    #[schema(examples("ok"))]
    status: &'static str,
    /// The event's id once more, where it is a duplicate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("66c164e7-c859-40d2-a844-c762939ae232"))]
    id: Option<String>,
    /// The event's id, or what stands for it.
    #[schema(examples("66c164e7-c859-40d2-a844-c762939ae232"))]
    event_id: String,
    /// Empty where the event has none.
    #[schema(examples("payment_paid"))]
    event_type: String,
}

/// Takes an event in. 2xx means that it is durable; what it says about money is not believed.
#[utoipa::path(
    post, path = "/api/v1/webhooks/moyasar", tag = "webhooks",
    request_body(content = Vec<u8>, content_type = "*/*", description = "Moyasar's webhook envelope; the media type is not looked at"),
    responses(
        (status = 200, description = "It is durable", body = EventReceived),
        (status = 400, description = "Literal detail `invalid_json`"),
        (status = 401, description = "Literal detail `bad_signature`"),
        (status = 503, description = "`storage-unavailable`: send it again"),
    ),
)]
async fn receive_moyasar_event(
    State(inbox): State<Arc<Inbox>>,
    State(limits): State<Arc<RateLimits>>,
    context: RequestContext,
    body: Result<RawBody, Problem>,
) -> Result<Json<EventReceived>, Problem> {
    let trace_id = context.trace_id().to_string();
    let delivery = Delivery { request_id: context.request_id(), trace_id: Some(&trace_id) };
    let recognised = match &body {
        Ok(RawBody(body)) => inbox.recognise(body),
        // Too large or too slow: refused like any other that is not genuine.
        Err(_) => Err(InboxError::InvalidJson),
    };
    let genuine = match recognised {
        Ok(genuine) => genuine,
        Err(refused) => {
            // Counted also where all that its sender hears is that there were too many.
            count(failure(&refused));
            limits.admit_refused_webhook(&context)?;
            let RawBody(body) = body?;
            if matches!(refused, InboxError::BadSignature)
                && let Some(sender) = limits.may_keep(&context)
            {
                inbox.quarantine(&body, sender, delivery);
            }
            return Err(refused.into());
        }
    };
    if let Err(limited) = limits.admit_genuine_webhook(&context) {
        count("rate_limited");
        return Err(limited);
    }
    let received = inbox.receive(genuine, delivery).await;
    count(outcome(&received));
    let receipt = received?;
    let (status, id) = match receipt.received {
        Received::Stored => ("ok", None),
        Received::Duplicate => ("duplicate", Some(receipt.event_id.clone())),
        Received::Ignored => ("ignored", None),
        Received::Queued => ("dlq", None),
    };
    let (event_id, event_type) = (receipt.event_id, receipt.event_type);
    Ok(Json(EventReceived { status, id, event_id, event_type }))
}

/// The same at the address that the predecessor had.
#[utoipa::path(
    post, path = "/api/v1/pricing/webhooks/moyasar", tag = "webhooks",
    request_body(content = Vec<u8>, content_type = "*/*", description = "Moyasar's webhook envelope; the media type is not looked at"),
    responses(
        (status = 200, description = "It is durable", body = EventReceived),
        (status = 400, description = "Literal detail `invalid_json`"),
        (status = 401, description = "Literal detail `bad_signature`"),
        (status = 503, description = "`storage-unavailable`: send it again"),
    ),
)]
async fn receive_moyasar_event_at_old_path(
    inbox: State<Arc<Inbox>>,
    limits: State<Arc<RateLimits>>,
    context: RequestContext,
    body: Result<RawBody, Problem>,
) -> Result<Json<EventReceived>, Problem> {
    receive_moyasar_event(inbox, limits, context, body).await
}

/// That a prompt was heard.
#[derive(Serialize, ToSchema)]
struct Heard {
    #[schema(examples("ok"))]
    status: &'static str,
}

/// Hears that an invoice changed. Nothing in the body is believed or even read: it only prompts a
/// look at the provider, and only where the token in the path is a checkout's and whoever sends it
/// has not done so too often.
#[utoipa::path(
    post, path = "/api/v1/webhooks/moyasar/invoices/{token}", tag = "webhooks",
    params(("token" = String, Path, description = "The checkout's callback token")),
    responses((status = 200, description = "Always", body = Heard)),
)]
async fn receive_moyasar_invoice(
    State(flow): State<PromptLook>,
    State(limits): State<Arc<RateLimits>>,
    context: RequestContext,
    token: Result<Path<String>, Problem>,
) -> Json<Heard> {
    if limits.may_prompt(&context)
        && let Ok(Path(token)) = token
    {
        flow.by_callback(&token).await;
    }
    Json(Heard { status: "ok" })
}

impl From<InboxError> for Problem {
    fn from(error: InboxError) -> Self {
        match error {
            InboxError::InvalidJson => Self::WebhookInvalidJson,
            InboxError::BadSignature => Self::BadSignature,
            // Whatever the reason, the event is not durable: the provider must send it again.
            InboxError::Unstored => Self::StorageUnavailable { retry_after: STORAGE_RETRY_AFTER },
        }
    }
}

fn outcome(received: &Result<Receipt, InboxError>) -> &'static str {
    match received {
        Ok(receipt) => match receipt.received {
            Received::Stored => "stored",
            Received::Duplicate => "duplicate",
            Received::Ignored => "ignored",
            Received::Queued => "dlq",
        },
        Err(error) => failure(error),
    }
}

fn failure(error: &InboxError) -> &'static str {
    match error {
        InboxError::InvalidJson => "invalid_json",
        InboxError::BadSignature => "bad_signature",
        InboxError::Unstored => "not_stored",
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("dealix_webhooks_total", "source" => "moyasar", "outcome" => outcome)
        .increment(1);
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower::ServiceExt;

    use super::*;
    use crate::http::router;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_a_limit_is_counted_all_the_same() {
        let secret = "webhook-secret-for-tests-0123456789abcdef";
        let variables = [("RATELIMIT_WEBHOOK_PER_MINUTE", "2"), ("MOYASAR_WEBHOOK_SECRET", secret)];
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        let front = router(AppState::without_stores(&variables));
        let deliver = async |token: &str| {
            let body = format!(r#"{{"id":"e","secret_token":"{token}"}}"#);
            let request = Request::post("/api/v1/webhooks/moyasar").body(Body::from(body));
            front.clone().oneshot(request.unwrap()).await.unwrap().status()
        };
        for status in [401, 401, 429, 429, 429] {
            assert_eq!(deliver("a-guess").await.as_u16(), status);
        }
        // Nothing takes it in: there is no store.
        for status in [503, 503, 429] {
            assert_eq!(deliver(secret).await.as_u16(), status);
        }
        let shown = shown.render();
        for (outcome, count) in [("bad_signature", 5), ("not_stored", 2), ("rate_limited", 1)] {
            let line =
                format!(r#"dealix_webhooks_total{{source="moyasar",outcome="{outcome}"}} {count}"#);
            assert!(shown.lines().any(|it| it == line), "{line}\n{shown}");
        }
        let line = r#"dealix_rate_limited_total{policy="webhook-refused"} 3"#;
        assert!(shown.lines().any(|it| it == line), "{shown}");
    }
}
