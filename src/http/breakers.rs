//! `/api/v1/admin/circuit-breakers`: which outside services we call, which we leave alone, and what
//! operators say about that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::domain::reason::LONGEST_REASON;
use crate::flows::breakers::override_breaker::{Force, OverrideBreaker, OverrideError, Wish, Word};
use crate::flows::breakers::show_breakers::{Breakers, Snapshot, Transition, show_breakers};
use crate::http::auth::{Admin, AdminReader};
use crate::http::checkout::short_text;
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, OptionalJson, Path};
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};

/// Longest time in seconds that a breaker is held.
const LONGEST_TTL: i64 = 86_400;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_breakers))
        .routes(routes!(open_breaker))
        .routes(routes!(close_breaker))
        .routes(routes!(reset_breaker))
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
    /// When the next probe may go, or an override ends, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<DateTime<Utc>>,
    /// What an operator holds it at, whatever it sees: `open` or `closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, examples("open"))]
    forced: Option<&'static str>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    forced_until: Option<DateTime<Utc>>,
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
            forced: breaker.forced.map(|forced| forced.to.word()),
            forced_until: breaker.forced.map(|forced| forced.until),
            last_error: breaker.last_error,
            transitions: breaker.transitions.into_iter().map(TransitionBody::from).collect(),
        }
    }
}

impl From<Transition> for TransitionBody {
    fn from(Transition { at, from, to, cause, .. }: Transition) -> Self {
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

/// What a breaker is held for, and how long. Both fields are needed: a forgotten override ends by itself.
#[derive(Deserialize, ToSchema)]
#[schema(as = BreakerOverride)]
struct OverrideBody {
    /// Why, for the audit.
    #[schema(value_type = String, min_length = 1, max_length = 1000, examples("their status page says so"))]
    reason: Option<String>,
    /// For how many seconds.
    #[schema(value_type = i64, minimum = 1, maximum = 86_400, examples(600))]
    ttl_s: Option<i64>,
}

impl OverrideBody {
    fn parse(self) -> Result<(String, Duration), Problem> {
        let mut fields = Fields::default();
        let reason =
            fields.required("/reason", self.reason, |text| short_text(text, LONGEST_REASON));
        let ttl = fields.required("/ttl_s", self.ttl_s, |seconds| {
            let is_right = (1..=LONGEST_TTL).contains(&seconds);
            let seconds = u64::try_from(seconds).ok().filter(|_| is_right);
            seconds.map(Duration::from_secs).ok_or(Fault::InvalidValue)
        });
        reason.zip(ttl).ok_or_else(|| fields.refuse())
    }
}

/// Why a breaker begins anew.
#[derive(Deserialize, ToSchema)]
#[schema(as = BreakerReset)]
struct ResetBody {
    /// Why, for the audit.
    #[schema(value_type = String, min_length = 1, max_length = 1000, required = false, examples("they say that it is over"))]
    reason: Option<String>,
}

/// Calls the service no more for a while, whatever the breaker sees. Every instance follows within 5 s.
#[utoipa::path(
    post, path = "/api/v1/admin/circuit-breakers/{name}/open", tag = "admin",
    params(("name" = String, Path, description = "The service", example = "moyasar")),
    request_body = OverrideBody,
    responses(
        (status = 200, description = "The breaker, held open", body = BreakerBody),
        (status = 404, description = "`breaker-not-found`"),
        (status = 503, description = "`storage-unavailable`"),
    ),
    security(("api_key" = ["admin"]), ("bearer" = ["admin"])),
)]
async fn open_breaker(
    _: Admin,
    State(breakers): State<OverrideBreaker>,
    context: RequestContext,
    Path(name): Path<String>,
    Json(body): Json<OverrideBody>,
) -> Result<Json<BreakerBody>, Problem> {
    let (reason, ttl) = body.parse()?;
    let word = said(Wish::Force { to: Force::Open, ttl }, Some(&reason), &context);
    Ok(Json(breakers.run(&name, word).await?.into()))
}

/// Calls the service for a while, whatever the breaker sees. Every instance follows within 5 s.
#[utoipa::path(
    post, path = "/api/v1/admin/circuit-breakers/{name}/close", tag = "admin",
    params(("name" = String, Path, description = "The service", example = "moyasar")),
    request_body = OverrideBody,
    responses(
        (status = 200, description = "The breaker, held closed", body = BreakerBody),
        (status = 404, description = "`breaker-not-found`"),
        (status = 503, description = "`storage-unavailable`"),
    ),
    security(("api_key" = ["admin"]), ("bearer" = ["admin"])),
)]
async fn close_breaker(
    _: Admin,
    State(breakers): State<OverrideBreaker>,
    context: RequestContext,
    Path(name): Path<String>,
    Json(body): Json<OverrideBody>,
) -> Result<Json<BreakerBody>, Problem> {
    let (reason, ttl) = body.parse()?;
    let word = said(Wish::Force { to: Force::Closed, ttl }, Some(&reason), &context);
    Ok(Json(breakers.run(&name, word).await?.into()))
}

/// Closes the breaker, ends an override, and forgets what was seen. Every instance follows within 5 s.
#[utoipa::path(
    post, path = "/api/v1/admin/circuit-breakers/{name}/reset", tag = "admin",
    params(("name" = String, Path, description = "The service", example = "moyasar")),
    request_body = Option<ResetBody>,
    responses(
        (status = 200, description = "The breaker, as if new", body = BreakerBody),
        (status = 404, description = "`breaker-not-found`"),
        (status = 503, description = "`storage-unavailable`"),
    ),
    security(("api_key" = ["admin"]), ("bearer" = ["admin"])),
)]
async fn reset_breaker(
    _: Admin,
    State(breakers): State<OverrideBreaker>,
    context: RequestContext,
    Path(name): Path<String>,
    OptionalJson(body): OptionalJson<ResetBody>,
) -> Result<Json<BreakerBody>, Problem> {
    let mut fields = Fields::default();
    let reason = fields.optional("/reason", body.reason, |text| short_text(text, LONGEST_REASON));
    let reason = reason.ok_or_else(|| fields.refuse())?;
    let word = said(Wish::Reset, reason.as_deref(), &context);
    Ok(Json(breakers.run(&name, word).await?.into()))
}

fn said<'a>(wish: Wish, reason: Option<&'a str>, context: &'a RequestContext) -> Word<'a> {
    let actor = context.caller().map_or("", |caller| &caller.name);
    Word { wish, reason, actor, request_id: Some(context.request_id()) }
}

impl From<OverrideError> for Problem {
    fn from(error: OverrideError) -> Self {
        match error {
            OverrideError::NotFound => Self::BreakerNotFound,
            OverrideError::Storage(error) => error.into(),
        }
    }
}
