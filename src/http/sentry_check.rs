//! `GET /api/v1/admin/sentry-check`: do error reports and funnel events arrive?

use axum::extract::State;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::AppState;
use crate::flows::health::check_sentry::CheckSentry;
use crate::http::auth::AdminReader;
use crate::http::edge::RequestContext;
use crate::http::extract::Json;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(check_sentry))
}

/// What became of the two probes.
#[derive(Serialize, ToSchema)]
struct SentryCheck {
    /// `sent` if Sentry confirmed the report, `failed` if it did not, `disabled` without a DSN.
    #[schema(examples("sent"))]
    status: &'static str,
    dsn_configured: bool,
    /// The report, as Sentry shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    event_id: Option<Uuid>,
    posthog: PosthogCheck,
}

/// What became of the event for PostHog.
#[derive(Serialize, ToSchema)]
struct PosthogCheck {
    /// `queued`, `disabled`, or `failed` if it could not be stored.
    #[schema(examples("queued"))]
    status: &'static str,
    /// The event, as PostHog shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    uuid: Option<Uuid>,
}

/// Send a probe to Sentry and one to PostHog
#[utoipa::path(
    get,
    path = "/api/v1/admin/sentry-check",
    tag = "admin",
    responses((status = 200, description = "What became of them", body = SentryCheck)),
)]
async fn check_sentry(
    _: AdminReader,
    State(flow): State<CheckSentry>,
    context: RequestContext,
    method: Method,
) -> Response {
    // A HEAD asks whether the route is there and has no effects.
    if method == Method::HEAD {
        return StatusCode::OK.into_response();
    }
    let checked = flow.run(context.request_id()).await;
    Json(SentryCheck {
        status: checked.report.name(),
        dsn_configured: checked.is_configured,
        event_id: checked.event_id,
        posthog: PosthogCheck { status: checked.event.name(), uuid: checked.uuid },
    })
    .into_response()
}
