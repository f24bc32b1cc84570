//! `/api/v1/admin/circuit-breakers`: which outside services we call, and which we leave alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::flows::health::show_breakers::{Breakers, Snapshot, Transition, show_breakers};
use crate::http::auth::AdminReader;
use crate::http::extract::Json;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_breakers))
}

/// Every circuit breaker, by name.
#[derive(Serialize, ToSchema)]
struct BreakerList {
    breakers: BTreeMap<&'static str, BreakerBody>,
}

/// One circuit breaker. It guards the calls to one outside service.
#[derive(Serialize, ToSchema)]
#[schema(as = Breaker)]
struct BreakerBody {
    #[schema(examples("moyasar"))]
    name: &'static str,
    /// `closed`: calls go out. `open`: none does. `half_open`: one at a time, to see.
    #[schema(value_type = String, examples("closed", "open", "half_open"))]
    state: &'static str,
    /// Failures since the last good answer.
    failure_count: u32,
    /// So many in a row open it.
    #[schema(examples(5))]
    failure_threshold: u32,
    /// Seconds from opening to the first probe.
    #[schema(examples(60))]
    recovery_timeout: u64,
    /// Share of the calls in the window that failed, 0 to 1.
    #[schema(examples(0.25))]
    failure_rate: f64,
    /// Share of the calls in the window that took too long, 0 to 1.
    #[schema(examples(0.0))]
    slow_rate: f64,
    #[schema(examples(12))]
    calls_in_window: u32,
    /// When it last opened, until it is closed again.
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_at: Option<DateTime<Utc>>,
    /// When the next probe may go, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<DateTime<Utc>>,
    /// The last outage, in our own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("timeout: moyasar could not be reached"))]
    last_error: Option<String>,
    /// The last 20 changes of state, oldest first.
    transitions: Vec<TransitionBody>,
}

/// One change of a breaker's state.
#[derive(Serialize, ToSchema)]
#[schema(as = BreakerTransition)]
struct TransitionBody {
    at: DateTime<Utc>,
    #[schema(value_type = String, examples("closed"))]
    from: &'static str,
    #[schema(value_type = String, examples("open"))]
    to: &'static str,
    #[schema(value_type = String, examples("consecutive_failures"))]
    cause: &'static str,
}

impl From<Snapshot> for BreakerBody {
    fn from(breaker: Snapshot) -> Self {
        let window = breaker.window;
        Self {
            name: breaker.name,
            state: breaker.state.name(),
            failure_count: breaker.failure_count,
            failure_threshold: breaker.failure_threshold,
            recovery_timeout: breaker.recovery_timeout.as_secs(),
            failure_rate: share(window.failures, window.calls),
            slow_rate: share(window.slow, window.calls),
            calls_in_window: window.calls,
            opened_at: breaker.opened_at,
            retry_at: breaker.retry_at,
            last_error: breaker.last_error,
            transitions: breaker.transitions.into_iter().map(TransitionBody::from).collect(),
        }
    }
}

impl From<Transition> for TransitionBody {
    fn from(Transition { at, from, to, cause }: Transition) -> Self {
        Self { at, from: from.name(), to: to.name(), cause: cause.name() }
    }
}

#[expect(clippy::float_arithmetic, reason = "a share for people; nothing is decided by it")]
fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) }
}

/// Which outside services we call, and which we leave alone.
#[utoipa::path(
    get, path = "/api/v1/admin/circuit-breakers", tag = "admin",
    responses((status = 200, description = "Every breaker", body = BreakerList)),
    security(("api_key" = ["admin:read"]), ("bearer" = ["admin:read"])),
)]
async fn list_breakers(_: AdminReader, State(breakers): State<Arc<Breakers>>) -> Json<BreakerList> {
    let breakers = show_breakers(&breakers).into_iter();
    Json(BreakerList { breakers: breakers.map(|shown| (shown.name, shown.into())).collect() })
}
