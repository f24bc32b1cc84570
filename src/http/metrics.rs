//! `GET /metrics`: for Prometheus. The public listener asks for a key even of a local peer, because
//! behind nginx every peer is local.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::http::auth::Admin;
use crate::telemetry::Metrics;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(show_metrics))
}

/// The same without a key, and nothing else, for a listener of its own.
pub(crate) fn open_router(metrics: Metrics) -> Router {
    let show = async |State(metrics)| render(&metrics);
    Router::new().route("/metrics", get(show)).with_state(metrics)
}

/// Counters and gauges
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "admin",
    responses((status = 200, description = "The text format of Prometheus", body = String, content_type = "text/plain")),
)]
async fn show_metrics(
    _: Admin,
    State(metrics): State<Metrics>,
) -> ([(HeaderName, HeaderValue); 1], String) {
    render(&metrics)
}

fn render(metrics: &Metrics) -> ([(HeaderName, HeaderValue); 1], String) {
    ([(header::CONTENT_TYPE, TEXT)], metrics.render())
}
