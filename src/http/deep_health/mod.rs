//! The probes that say whether we can do our work: readiness, and health with all its parts. They
//! read what the background checks found last, so nothing that hangs can hold them up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::clock::Clock;
use crate::domain::health::{Check, ErrorClass, Facts, Overall, Status};
use crate::flows::health::health_board::{CheckView, HealthBoard, HealthView};
use crate::http::Settings;
use crate::http::auth::AdminReader;
use crate::http::extract::Json;
use crate::telemetry::BUILD;

mod inadarei;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(show_readiness))
        .routes(routes!(show_api_health))
        .routes(routes!(show_api_status))
        .routes(routes!(show_api_readiness))
        .routes(routes!(show_deep_health))
}

/// Whether we should get traffic.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// `ready` or `not_ready`.
    #[schema(examples("ready"))]
    status: &'static str,
    /// `draining`, `starting`, `postgres` or `migrations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, examples("postgres"))]
    reason: Option<&'static str>,
}

/// Whether a deploy may go on; not for routing
///
/// Webhooks are taken without Postgres, so nothing that routes them may ask this.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "health",
    responses(
        (status = 200, description = "Ready", body = Readiness, example = json!({"status": "ready"})),
        (status = 503, description = "Not ready", body = Readiness,
            example = json!({"status": "not_ready", "reason": "postgres"})),
    ),
)]
async fn show_readiness(State(board): State<HealthBoard>) -> (StatusCode, Json<Readiness>) {
    match board.readiness() {
        Ok(()) => (StatusCode::OK, Json(Readiness { status: "ready", reason: None })),
        Err(not_ready) => {
            let reason = Some(not_ready.name());
            let body = Readiness { status: "not_ready", reason };
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

/// The service and its two stores in a word each.
#[derive(Serialize, ToSchema)]
struct ApiHealth {
    /// `healthy` or `degraded`.
    #[schema(examples("healthy"))]
    status: &'static str,
    timestamp: DateTime<Utc>,
    #[schema(examples("0.1.0"))]
    version: &'static str,
    #[schema(examples("Dealix"))]
    app: &'static str,
    #[schema(examples("production"))]
    environment: &'static str,
    /// `ok` or `error`.
    #[schema(examples("ok"))]
    database: &'static str,
    /// `ok` or `error`.
    #[schema(examples("ok"))]
    redis: &'static str,
}

/// Health in a few words
#[utoipa::path(
    get,
    path = "/api/v1/health",
    tag = "health",
    responses((status = 200, description = "Health, good or bad", body = ApiHealth)),
)]
async fn show_api_health(
    State(board): State<HealthBoard>,
    State(clock): State<Clock>,
    State(settings): State<Arc<Settings>>,
) -> Json<ApiHealth> {
    let store = |check| match board.status(check) {
        Status::Ok | Status::Degraded => "ok",
        Status::Fail | Status::Disabled | Status::Unknown => "error",
    };
    Json(ApiHealth {
        status: if board.view().overall == Overall::Ok { "healthy" } else { "degraded" },
        timestamp: clock.now(),
        version: BUILD.version,
        app: "Dealix",
        environment: settings.env,
        database: store(Check::Postgres),
        redis: store(Check::Redis),
    })
}

/// Health in a few words; an older path
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "health",
    responses((status = 200, description = "Health, good or bad", body = ApiHealth)),
)]
async fn show_api_status(
    board: State<HealthBoard>,
    clock: State<Clock>,
    settings: State<Arc<Settings>>,
) -> Json<ApiHealth> {
    show_api_health(board, clock, settings).await
}

/// Whether we should get traffic, as older clients ask it.
#[derive(Serialize, ToSchema)]
struct ApiReadiness {
    /// `ready` or `not_ready`.
    #[schema(examples("ready"))]
    status: &'static str,
    /// `connected` or `unavailable`.
    #[schema(examples("connected"))]
    database: &'static str,
    timestamp: DateTime<Utc>,
}

/// Whether a deploy may go on; an older path
#[utoipa::path(
    get,
    path = "/api/v1/ready",
    tag = "health",
    responses(
        (status = 200, description = "Ready", body = ApiReadiness),
        (status = 503, description = "Not ready", body = ApiReadiness),
    ),
)]
async fn show_api_readiness(
    State(board): State<HealthBoard>,
    State(clock): State<Clock>,
) -> (StatusCode, Json<ApiReadiness>) {
    let is_connected = board.status(Check::Postgres) == Status::Ok;
    let database = if is_connected { "connected" } else { "unavailable" };
    let (code, status) = match board.readiness() {
        Ok(()) => (StatusCode::OK, "ready"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    (code, Json(ApiReadiness { status, database, timestamp: clock.now() }))
}

/// The service and all its parts.
#[derive(Serialize, ToSchema)]
struct DeepHealth {
    /// `ok`, `degraded` or `fail`.
    #[schema(examples("ok"))]
    status: &'static str,
    #[schema(examples("0.1.0"))]
    version: &'static str,
    /// The commit it was built from.
    #[schema(examples("8231182aa0b1"))]
    commit: &'static str,
    /// Every check is at least as fresh as this; null before the first round.
    checked_at: Option<DateTime<Utc>>,
    /// `refused` if somebody tried to switch the verification of webhooks off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, examples("refused"))]
    webhook_verify_all: Option<&'static str>,
    /// By name: postgres, redis, `llm_providers`, moyasar, posthog, migrations, dlq,
    /// reconciliation, backup.
    #[schema(value_type = BTreeMap<String, CheckReport>)]
    checks: BTreeMap<&'static str, CheckReport>,
}

/// One part.
#[derive(Serialize, ToSchema)]
struct CheckReport {
    /// `ok`, `degraded`, `fail`, `disabled` or `unknown`.
    #[schema(examples("ok"))]
    status: &'static str,
    /// How long it took to answer; null when it did not, or was not asked.
    #[schema(examples(3))]
    ms: Option<u64>,
    /// How long ago that was; null before its first round.
    #[schema(examples(1200))]
    age_ms: Option<u64>,
    /// Why it fails: `unreachable`, `timeout`, `auth`, `breaker_open` or `refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, examples("timeout"))]
    error: Option<&'static str>,
    /// Why it is not ok although it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, examples("aof_off"))]
    reason: Option<&'static str>,
    /// The same in its own words, for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("no answer within 1500 ms"))]
    detail: Option<String>,
    #[serde(flatten)]
    facts: FactsReport,
}

/// What only some parts can tell.
#[derive(Default, Serialize, ToSchema)]
struct FactsReport {
    /// Language-model providers that have a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    providers: Option<Vec<String>>,
    /// The breakers of the language-model providers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>, nullable = false)]
    breakers: Option<BTreeMap<String, &'static str>>,
    /// The state of the service's breaker.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false, examples("closed"))]
    breaker: Option<&'static str>,
    /// Dead letters that are to be settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    depth: Option<Value>,
    /// Age of the oldest of them in seconds; null where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    oldest_age_s: Option<Value>,
    /// Versions of the migrations that the database lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    missing: Option<Vec<i64>>,
}

/// The service and all its parts
///
/// 200 when `ok` or `degraded`, 503 when `fail`. What a part said in its own words is shown to
/// administrators only. `Accept: application/health+json` gives the form of draft-inadarei.
#[utoipa::path(
    get,
    path = "/health/deep",
    tag = "health",
    responses(
        (status = 200, description = "It works, perhaps with reservations", content(
            (DeepHealth = "application/json"), (inadarei::Health = "application/health+json"))),
        (status = 503, description = "It does not work, or is not known to yet", content(
            (DeepHealth = "application/json"), (inadarei::Health = "application/health+json"))),
    ),
)]
async fn show_deep_health(
    State(board): State<HealthBoard>,
    State(settings): State<Arc<Settings>>,
    admin: Option<AdminReader>,
    headers: HeaderMap,
) -> Response {
    let view = board.view();
    let status = match view.overall {
        Overall::Ok | Overall::Degraded => StatusCode::OK,
        Overall::Fail => StatusCode::SERVICE_UNAVAILABLE,
    };
    let vary = [(header::VARY, HeaderValue::from_static("accept"))];
    if inadarei::is_wanted(&headers) {
        return (status, vary, inadarei::Health::of(view)).into_response();
    }
    let refused = settings.refuses_unverified_webhooks.then_some("refused");
    let audience = if admin.is_some() { Audience::Administrators } else { Audience::Everybody };
    (status, vary, Json(DeepHealth::of(view, refused, audience))).into_response()
}

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Everybody,
    Administrators,
}

impl DeepHealth {
    fn of(view: HealthView, webhook_verify_all: Option<&'static str>, audience: Audience) -> Self {
        let checks = view.checks.into_iter();
        Self {
            status: view.overall.name(),
            version: BUILD.version,
            commit: BUILD.commit,
            checked_at: view.checked_at,
            webhook_verify_all,
            checks: checks.map(|it| (it.check.name(), CheckReport::of(it, audience))).collect(),
        }
    }
}

impl CheckReport {
    fn of(CheckView { finding, found, .. }: CheckView, audience: Audience) -> Self {
        Self {
            status: finding.status.name(),
            ms: finding.took.map(millis),
            age_ms: found.map(|(_, age)| millis(age)),
            error: finding.error.map(ErrorClass::name),
            reason: finding.reason,
            detail: finding.text.filter(|_| audience == Audience::Administrators),
            facts: FactsReport::of(finding.facts),
        }
    }
}

impl FactsReport {
    fn of(facts: Facts) -> Self {
        let none = Self::default();
        match facts {
            Facts::None => none,
            Facts::Providers(providers) => {
                Self { providers: Some(providers), breakers: Some(BTreeMap::new()), ..none }
            }
            Facts::Queues { depth, oldest_age } => {
                let oldest_age_s = Some(oldest_age.map_or(Value::Null, |age| age.as_secs().into()));
                Self { depth: Some(depth.into()), oldest_age_s, ..none }
            }
            Facts::Breaker(state) => Self { breaker: Some(state), ..none },
            Facts::MissingMigrations(missing) => Self { missing: Some(missing), ..none },
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
