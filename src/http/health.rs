//! The probes that touch nothing: they say that the process runs, whatever else does not.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::clock::Clock;
use crate::http::Settings;
use crate::http::extract::Json;
use crate::telemetry::BUILD;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(show_service))
        .routes(routes!(show_health))
        .routes(routes!(show_healthz))
        .routes(routes!(show_live))
        .routes(routes!(show_public_health))
}

/// Who answers here.
#[derive(Serialize, ToSchema)]
struct Service {
    #[schema(examples("Dealix"))]
    name: &'static str,
    #[schema(examples("0.1.0"))]
    version: &'static str,
    #[schema(examples("operational"))]
    status: &'static str,
    #[schema(examples("production"))]
    env: &'static str,
    #[schema(examples("/docs"))]
    docs: &'static str,
    #[schema(examples("/health"))]
    health: &'static str,
}

/// Who answers here
#[utoipa::path(
    get,
    path = "/",
    tag = "health",
    responses((status = 200, description = "The service", body = Service)),
)]
async fn show_service(State(settings): State<Arc<Settings>>) -> Json<Service> {
    Json(Service {
        name: "Dealix",
        version: BUILD.version,
        status: "operational",
        env: settings.env,
        docs: "/docs",
        health: "/health",
    })
}

/// What is running here.
#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(examples("ok"))]
    status: &'static str,
    #[schema(examples("0.1.0"))]
    version: &'static str,
    /// The commit it was built from.
    #[schema(examples("8231182aa0b1"))]
    commit: &'static str,
    #[schema(examples("production"))]
    env: &'static str,
    /// Seconds since the start.
    #[schema(examples(86_400))]
    uptime_s: u64,
    /// Language-model providers that have a key.
    #[schema(value_type = Vec<String>, example = json!(["groq"]))]
    providers: Arc<[String]>,
}

/// Whether the process runs; asks nobody
#[utoipa::path(
    get,
    path = "/health",
    tag = "health",
    responses((status = 200, description = "The process runs", body = Health)),
)]
async fn show_health(
    State(settings): State<Arc<Settings>>,
    State(clock): State<Clock>,
) -> Json<Health> {
    let uptime = clock.monotonic().saturating_duration_since(settings.started);
    Json(Health {
        status: "ok",
        version: BUILD.version,
        commit: BUILD.commit,
        env: settings.env,
        uptime_s: uptime.as_secs(),
        providers: Arc::clone(&settings.providers),
    })
}

/// The answer of an older probe.
#[derive(Serialize, ToSchema)]
struct Healthz {
    #[schema(examples("ok"))]
    status: &'static str,
    #[schema(examples("dealix"))]
    service: &'static str,
}

/// Whether the process runs; an older path
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    responses((status = 200, description = "The process runs", body = Healthz)),
)]
async fn show_healthz() -> Json<Healthz> {
    Json(Healthz { status: "ok", service: "dealix" })
}

/// The answer of a liveness probe.
#[derive(Serialize, ToSchema)]
struct Live {
    #[schema(examples("alive"))]
    status: &'static str,
}

/// Whether the process runs; for liveness probes
#[utoipa::path(
    get,
    path = "/live",
    tag = "health",
    responses((status = 200, description = "The process runs", body = Live)),
)]
async fn show_live() -> Json<Live> {
    Json(Live { status: "alive" })
}

/// The answer of the landing page's probe.
#[derive(Serialize, ToSchema)]
struct PublicHealth {
    ok: bool,
    #[schema(examples("dealix-api"))]
    service: &'static str,
}

/// Whether the process runs; for the landing page
#[utoipa::path(
    get,
    path = "/api/v1/public/health",
    tag = "health",
    responses((status = 200, description = "The process runs", body = PublicHealth)),
)]
async fn show_public_health() -> Json<PublicHealth> {
    Json(PublicHealth { ok: true, service: "dealix-api" })
}
