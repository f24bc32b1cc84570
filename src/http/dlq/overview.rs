//! The queues at a glance, and their automatic replay stopped and started.

use std::collections::BTreeMap;

use axum::extract::State;
use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use serde::Serialize;
use utoipa::ToSchema;

use super::{InQueue, ReasonBody, Unix, said, unavailable};
use crate::clock::Clock;
use crate::domain::redaction::redact;
use crate::flows::letters::operate::Operate;
use crate::http::auth::{Admin, AdminReader};
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, OptionalJson};
use crate::http::problem::Problem;
use crate::queue::{Queue, Stats};

/// How many unresolved entries each queue has.
#[derive(Serialize, ToSchema)]
pub(super) struct QueueDepths {
    /// By queue.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({ "webhooks": 2, "outbound": 0, "enrichment": 0, "analytics": 0, "crm_sync": 0 }))]
    queues: BTreeMap<&'static str, u64>,
    #[schema(examples(2))]
    total_depth: u64,
}

/// One queue at a glance.
#[derive(Serialize, ToSchema)]
#[schema(as = QueueStats)]
pub(super) struct StatsBody {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    /// Every unresolved entry: ready, scheduled, in flight and dead.
    #[schema(examples(2))]
    depth: u64,
    ready: u64,
    scheduled: u64,
    in_flight: u64,
    dead: u64,
    /// Whether its automatic replay is stopped.
    paused: bool,
    /// Seconds since the oldest entry came; null where there is none.
    #[schema(examples(61))]
    oldest_age_s: Option<i64>,
    /// Why the last one that came or failed is here; null where none ever came.
    #[schema(examples("the provider does not know this payment"))]
    last_error: Option<String>,
    /// When that was, in seconds since 1970.
    #[schema(value_type = Option<f64>, examples(1_767_323_045))]
    last_at: Option<Unix>,
    /// What could not be done.
    #[schema(examples("moyasar"))]
    last_source: Option<String>,
}

impl StatsBody {
    fn new(queue: Queue, stats: Stats, now: DateTime<Utc>) -> Self {
        let Stats { counts, oldest_dead_at, last, paused, .. } = stats;
        let oldest = counts.oldest_at.into_iter().chain(oldest_dead_at).min();
        let last = last.as_ref();
        Self {
            queue: queue.name(),
            depth: counts.depth(),
            ready: counts.ready,
            scheduled: counts.scheduled,
            in_flight: counts.in_flight,
            dead: counts.dead,
            paused: paused.is_some(),
            oldest_age_s: oldest.map(|oldest| (now - oldest).num_seconds().max(0)),
            last_error: last.map(|last| redact(&last.error).into_owned()),
            last_at: last.map(|last| Unix(last.at)),
            last_source: last.map(|last| redact(&last.source).into_owned()),
        }
    }
}

/// How many entries each queue has
#[utoipa::path(
    get, path = "/api/v1/admin/dlq/queues", tag = "dead letters",
    responses(
        (status = 200, description = "All five queues", body = QueueDepths),
        (status = 503, description = "`queue-unavailable`"),
    ),
)]
pub(super) async fn list_queues(
    _: AdminReader,
    State(operate): State<Operate>,
    State(clock): State<Clock>,
) -> Result<Json<QueueDepths>, Problem> {
    let depth = async |queue: Queue| {
        let counts = operate.letters.count(queue, clock.now()).await;
        counts.map(|counts| (queue.name(), counts.depth()))
    };
    let depths = try_join_all(Queue::ALL.into_iter().map(depth)).await;
    let queues: BTreeMap<_, _> = depths.map_err(|error| unavailable(&error))?.into_iter().collect();
    Ok(Json(QueueDepths { total_depth: queues.values().sum(), queues }))
}

/// Every queue at a glance
#[utoipa::path(
    get, path = "/api/v1/admin/dlq/stats", tag = "dead letters",
    responses(
        (status = 200, description = "By queue", body = BTreeMap<String, StatsBody>),
        (status = 503, description = "`queue-unavailable`"),
    ),
)]
pub(super) async fn show_queue_stats(
    _: AdminReader,
    State(operate): State<Operate>,
    State(clock): State<Clock>,
) -> Result<Json<BTreeMap<&'static str, StatsBody>>, Problem> {
    let now = clock.now();
    let stats = async |queue: Queue| {
        let stats = operate.letters.stats(queue, now).await;
        stats.map(|stats| (queue.name(), StatsBody::new(queue, stats, now)))
    };
    let all = try_join_all(Queue::ALL.into_iter().map(stats)).await;
    Ok(Json(all.map_err(|error| unavailable(&error))?.into_iter().collect()))
}

/// Whether the automatic replay of a queue is stopped.
#[derive(Serialize, ToSchema)]
pub(super) struct QueuePause {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    paused: bool,
}

/// Stop the automatic replay of a queue
///
/// Entries keep coming in, and a drain or a retry works all the same.
#[utoipa::path(
    post, path = "/api/v1/admin/dlq/{queue}/pause", tag = "dead letters",
    params(("queue" = String, Path, description = "The queue", example = "webhooks")),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "It is stopped", body = QueuePause),
        (status = 404, description = "`queue-not-found`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn pause_queue(
    _: Admin,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
    context: RequestContext,
    OptionalJson(body): OptionalJson<ReasonBody>,
) -> Result<Json<QueuePause>, Problem> {
    operate.pause(queue, &said(&context, body)?).await?;
    Ok(Json(QueuePause { queue: queue.name(), paused: true }))
}

/// Start the automatic replay of a queue again
#[utoipa::path(
    post, path = "/api/v1/admin/dlq/{queue}/resume", tag = "dead letters",
    params(("queue" = String, Path, description = "The queue", example = "webhooks")),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "It goes on", body = QueuePause),
        (status = 404, description = "`queue-not-found`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn resume_queue(
    _: Admin,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
    context: RequestContext,
    OptionalJson(body): OptionalJson<ReasonBody>,
) -> Result<Json<QueuePause>, Problem> {
    operate.resume(queue, &said(&context, body)?).await?;
    Ok(Json(QueuePause { queue: queue.name(), paused: false }))
}
