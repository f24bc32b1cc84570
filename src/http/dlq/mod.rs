//! `/api/v1/admin/dlq`: the dead-letter queues, for operators. Here is what their routes share.

use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use redis::RedisError;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::AppState;
use crate::domain::reason::LONGEST_REASON;
use crate::flows::letters::operate::{OperateError, Order};
use crate::http::checkout::short_text;
use crate::http::edge::RequestContext;
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};
use crate::queue::{Cursor, Queue};

mod change;
mod drain;
mod entries;
mod groups;
mod overview;
mod redrive;
mod view;

/// How long to wait for a Redis that does not answer.
const QUEUE_RETRY_AFTER: Duration = Duration::from_secs(5);

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(overview::list_queues))
        .routes(routes!(overview::show_queue_stats))
        .routes(routes!(entries::list_entries))
        .routes(routes!(entries::peek_entries))
        .routes(routes!(entries::show_entry, change::edit_entry, change::delete_entry))
        .routes(routes!(drain::drain_queue))
        .routes(routes!(drain::retry_entry))
        .routes(routes!(change::purge_queue))
        .routes(routes!(change::restore_queue))
        .routes(routes!(overview::pause_queue))
        .routes(routes!(overview::resume_queue))
        .routes(routes!(groups::list_groups))
        .routes(routes!(redrive::list_redrives, redrive::start_redrive))
        .routes(routes!(redrive::show_redrive, redrive::cancel_redrive))
        .routes(routes!(redrive::pause_redrive))
        .routes(routes!(redrive::resume_redrive))
}

/// The queue that the path names.
#[derive(Clone, Copy, Debug)]
struct InQueue(Queue);

impl<S: Send + Sync> FromRequestParts<S> for InQueue {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parameters = RawPathParams::from_request_parts(parts, state).await;
        let parameters = parameters.map_err(|_| Problem::QueueNotFound)?;
        let named = parameters.iter().find(|(name, _)| *name == "queue");
        let queue = named.and_then(|(_, name)| Queue::named(name));
        queue.map(Self).ok_or(Problem::QueueNotFound)
    }
}

/// Why. It may be left out.
#[derive(Deserialize, ToSchema)]
struct ReasonBody {
    #[schema(value_type = String, min_length = 1, max_length = 1000, required = false, examples("the provider is being changed over"))]
    reason: Option<String>,
}

/// The entry that the path names.
#[derive(Deserialize)]
struct EntryPath {
    id: String,
}

/// A time as a number of seconds since 1970, with its milliseconds as the fraction.
#[derive(Clone, Copy, Debug)]
struct Unix(DateTime<Utc>);

impl Serialize for Unix {
    #[expect(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "a number for people, far below the precision of a float"
    )]
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.timestamp_millis();
        if millis % 1000 == 0 {
            to.serialize_i64(millis / 1000)
        } else {
            to.serialize_f64(millis as f64 / 1000.0)
        }
    }
}

/// Who says so.
fn order(context: &RequestContext, reason: Option<String>) -> Order {
    Order {
        actor: context.caller().map_or_else(String::new, |caller| caller.name.to_string()),
        request_id: context.request_id().to_owned(),
        reason,
    }
}

/// Who says so, and why if they say it.
fn said(context: &RequestContext, body: ReasonBody) -> Result<Order, Problem> {
    let mut fields = Fields::default();
    let reason = fields.optional("/reason", body.reason, |text| short_text(text, LONGEST_REASON));
    Ok(order(context, reason.ok_or_else(|| fields.refuse())?))
}

/// How many, from 1 to 100.
fn limit(number: u64) -> Result<usize, Fault> {
    match usize::try_from(number) {
        Ok(limit @ 1..=100) => Ok(limit),
        _ => Err(Fault::InvalidValue),
    }
}

/// Where the page before ended.
fn cursor(text: &str) -> Result<Cursor, Fault> {
    text.parse().map_err(|_| Fault::InvalidValue)
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Queue(error) => unavailable(&error),
            OperateError::Storage(error) => error.into(),
            OperateError::NotFound => Self::EntryNotFound,
            OperateError::InFlight => Self::EntryInFlight,
            OperateError::NotEditable => Self::NotEditable,
            OperateError::KeyReused => Self::IdempotencyKeyReused,
            OperateError::InProgress { retry_after } => Self::RequestInProgress { retry_after },
            OperateError::RedriveNotFound => Self::RedriveNotFound,
            OperateError::IsRedriven => Self::RedriveActive,
            OperateError::RedriveOver => Self::RedriveOver,
            OperateError::Broken(cause) => {
                Self::Internal(anyhow::anyhow!("an order on a queue panicked: {cause}"))
            }
        }
    }
}

/// A queue that cannot be asked is never an empty one.
pub(super) fn unavailable(error: &RedisError) -> Problem {
    tracing::warn!(%error, "Redis did not serve a request: {error}");
    Problem::QueueUnavailable { retry_after: QUEUE_RETRY_AFTER }
}
