//! Redrives: everything of a queue that matches now, replayed in the background.

use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{InQueue, LONGEST_REASON, ReasonBody, order, said};
use crate::clock::Clock;
use crate::domain::redrive::{RedriveStatus, RedriveWord};
use crate::flows::letters::operate::{Operate, Order};
use crate::flows::letters::redrives::{Plan, Redrive};
use crate::http::auth::{Admin, AdminReader};
use crate::http::checkout::short_text;
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, OptionalJson, Path};
use crate::http::idempotency::{KeyedOrder, Replayable};
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};
use crate::queue::{Filter, Queue, State as EntryState};

/// The share of failures at which one stops, where nothing is said.
const STOP_AT_PERCENT: u64 = 50;

/// The fastest that can be ordered.
const FASTEST: u64 = 10_000;

/// Longest class, source, group or request id, in characters.
const LONGEST_WORD: usize = 200;

/// What is to be redriven, and how. All of it may be left out. What is not known here is refused: a
/// condition that nobody understands must not become none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveOrder)]
pub(super) struct StartBody {
    #[schema(nullable = false)]
    filter: Option<FilterBody>,
    /// How many entries a second at most; as fast as it goes where nothing is said.
    #[schema(minimum = 1, maximum = 10_000, nullable = false, examples(25))]
    rate_per_s: Option<u64>,
    /// It stops when more than this share of at least 20 entries is still owed; 50 where nothing is said.
    #[schema(maximum = 100, nullable = false, examples(50))]
    stop_at_failure_percent: Option<u64>,
    /// Whether the first entry has to succeed before any other is tried.
    #[schema(nullable = false)]
    one_first: Option<bool>,
    #[schema(value_type = String, min_length = 1, max_length = 1000, required = false, examples("the provider is back"))]
    reason: Option<String>,
}

/// Which entries. Every condition counts; without any all that are ready, scheduled or dead.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveFilter)]
struct FilterBody {
    /// `ready`, `scheduled` or `dead`, when it is its turn; all three where nothing is said.
    #[schema(value_type = String, required = false, examples("dead"))]
    state: Option<String>,
    /// The class of the last failure.
    #[schema(value_type = String, min_length = 1, max_length = 200, required = false, examples("unknown_payment"))]
    error: Option<String>,
    /// What could not be done.
    #[schema(value_type = String, min_length = 1, max_length = 200, required = false, examples("moyasar"))]
    source: Option<String>,
    /// The fingerprint of a group.
    #[schema(value_type = String, min_length = 1, max_length = 200, required = false, examples("5f2b8c1d9e0a4c37"))]
    group: Option<String>,
    /// The request that it came with.
    #[schema(value_type = String, min_length = 1, max_length = 200, required = false, examples("019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"))]
    request_id: Option<String>,
    /// Only what came longer ago than so many seconds.
    #[schema(maximum = 4_000_000_000_u64, nullable = false, examples(3600))]
    older_than_s: Option<u64>,
}

/// A redrive, and how far it has come.
#[derive(Serialize, ToSchema)]
#[schema(as = Redrive)]
pub(super) struct RedriveBody {
    id: Uuid,
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    #[schema(value_type = String, examples("running", "paused", "cancelled", "completed", "stopped"))]
    status: &'static str,
    /// `breaker_open`, `failures`, `first_failed`, `no_handler` or `not_configured`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("breaker_open"))]
    stopped_because: Option<String>,
    /// How many entries matched when it was ordered.
    #[schema(examples(100))]
    matched: i64,
    /// Whether exactly so many did; otherwise there were too many to be counted at once.
    is_matched_exact: bool,
    /// What was owed is done, by it or by somebody else before.
    #[schema(examples(60))]
    succeeded: i64,
    /// Failed again: due later, or dead.
    #[schema(examples(2))]
    failed: i64,
    /// Nobody's attempt: what they need was away. They are left behind as they were.
    #[schema(examples(0))]
    held: i64,
    /// Those that matched and were not tried yet, at most: some may be done or deleted meanwhile. 0 when
    /// it is complete.
    #[schema(examples(38))]
    remaining: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples(25))]
    rate_per_s: Option<i32>,
    #[schema(examples(50))]
    stop_at_failure_percent: i32,
    one_first: bool,
    created_at: DateTime<Utc>,
    /// When it last came further, or somebody said something of it.
    updated_at: DateTime<Utc>,
    /// When it ended, or stopped by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ended_at: Option<DateTime<Utc>>,
}

/// The last redrives of a queue, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct RedriveList {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    redrives: Vec<RedriveBody>,
}

/// The redrive that the path names.
#[derive(Deserialize)]
pub(super) struct RedrivePath {
    id: String,
}

impl RedriveBody {
    fn new(queue: Queue, redrive: Redrive) -> Self {
        let tried = redrive.succeeded + redrive.failed + redrive.held;
        let matched = redrive.matched.max(tried);
        let remaining = match redrive.status {
            RedriveStatus::Completed => 0,
            RedriveStatus::Running
            | RedriveStatus::Paused
            | RedriveStatus::Cancelled
            | RedriveStatus::Stopped => matched - tried,
        };
        Self {
            id: redrive.id,
            queue: queue.name(),
            status: redrive.status.word(),
            stopped_because: redrive.stopped_because,
            matched,
            is_matched_exact: redrive.is_matched_exact,
            succeeded: redrive.succeeded,
            failed: redrive.failed,
            held: redrive.held,
            remaining,
            rate_per_s: redrive.rate_per_s,
            stop_at_failure_percent: redrive.stop_at_failure_percent,
            one_first: redrive.one_first,
            created_at: redrive.created_at,
            updated_at: redrive.updated_at,
            ended_at: redrive.ended_at,
        }
    }
}

impl StartBody {
    fn parse(self, queue: Queue, now: DateTime<Utc>) -> Result<(Plan, Option<String>), Problem> {
        let mut fields = Fields::default();
        let filter = self.filter.unwrap_or_default().parse(&mut fields, now);
        let rate = fields.optional("/rate_per_s", self.rate_per_s, |rate| match rate {
            1..=FASTEST => u32::try_from(rate).map_err(|_| Fault::InvalidValue),
            _ => Err(Fault::InvalidValue),
        });
        let percent = self.stop_at_failure_percent.or(Some(STOP_AT_PERCENT));
        let percent =
            fields.required("/stop_at_failure_percent", percent, |percent| match percent {
                0..=100 => u32::try_from(percent).map_err(|_| Fault::InvalidValue),
                _ => Err(Fault::InvalidValue),
            });
        let reason =
            fields.optional("/reason", self.reason, |text| short_text(text, LONGEST_REASON));
        let (Some(filter), Some(rate_per_s), Some(percent), Some(reason)) =
            (filter, rate, percent, reason)
        else {
            return Err(fields.refuse());
        };
        let one_first = self.one_first.unwrap_or_default();
        let plan = Plan { queue, filter, rate_per_s, stop_at_failure_percent: percent, one_first };
        Ok((plan, reason))
    }
}

impl FilterBody {
    fn parse(self, fields: &mut Fields, now: DateTime<Utc>) -> Option<Filter> {
        let word = |text| short_text(text, LONGEST_WORD);
        let state = fields.optional("/filter/state", self.state, |name| {
            match EntryState::named(&name) {
                // What somebody has in hand is being replayed.
                None | Some(EntryState::InFlight) => Err(Fault::InvalidValue),
                Some(state) => Ok(state),
            }
        });
        let error_class = fields.optional("/filter/error", self.error, word);
        let source = fields.optional("/filter/source", self.source, word);
        let group = fields.optional("/filter/group", self.group, word);
        let request_id = fields.optional("/filter/request_id", self.request_id, word);
        let older_than = fields.optional("/filter/older_than_s", self.older_than_s, |seconds| {
            let seconds = i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds);
            seconds.and_then(|age| now.checked_sub_signed(age)).ok_or(Fault::InvalidValue)
        });
        Some(Filter {
            states: state?.into_iter().collect(),
            error_class: error_class?,
            source: source?,
            group: group?,
            request_id: request_id?,
            older_than: older_than?,
            mark: None,
        })
    }
}

fn id(path: &RedrivePath) -> Result<Uuid, Problem> {
    path.id.parse().map_err(|_| Problem::RedriveNotFound)
}

/// Redrive a queue
///
/// Replays in the background what is there at this moment and matches, oldest first, each at most once,
/// the dead included unless the filter says otherwise, also on a paused queue. One of a queue at a time.
/// It stops by itself when the breaker of what the entries need is open, or when too many fail again.
#[utoipa::path(
    post, path = "/api/v1/admin/dlq/{queue}/redrive", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "webhooks"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 visible characters: the same order with the same key redrives once",
            example = "7f3a9c52-redrive-1", min_length = 1, max_length = 255),
    ),
    request_body = Option<StartBody>,
    responses(
        (status = 200, description = "It is ordered", body = RedriveBody,
            headers(("Idempotent-Replayed" = Option<String>,
                description = "`true` when this answer was given before"))),
        (status = 404, description = "`queue-not-found`"),
        (status = 409, description = "`redrive-active`, or `request-in-progress`: ask again after `Retry-After`"),
        (status = 422, description = "`invalid-request`, `idempotency-key-reused`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn start_redrive(
    _: Admin,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
    State(clock): State<Clock>,
    context: RequestContext,
    KeyedOrder { body, key }: KeyedOrder<StartBody>,
) -> Result<Replayable<RedriveBody>, Problem> {
    let (plan, reason) = body.parse(queue, clock.now())?;
    let redrive = operate.redrives.start(&plan, &order(&context, reason), key.as_ref()).await?;
    Ok(Replayable::of(redrive, |redrive| RedriveBody::new(queue, redrive)))
}

/// The last redrives of a queue
///
/// Newest first, 50 at most.
#[utoipa::path(
    get, path = "/api/v1/admin/dlq/{queue}/redrive", tag = "dead letters",
    params(("queue" = String, Path, description = "The queue", example = "webhooks")),
    responses(
        (status = 200, description = "Its redrives", body = RedriveList),
        (status = 404, description = "`queue-not-found`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn list_redrives(
    _: AdminReader,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
) -> Result<Json<RedriveList>, Problem> {
    let redrives = operate.redrives.list(queue).await?.into_iter();
    let redrives = redrives.map(|redrive| RedriveBody::new(queue, redrive)).collect();
    Ok(Json(RedriveList { queue: queue.name(), redrives }))
}

/// How far a redrive has come
#[utoipa::path(
    get, path = "/api/v1/admin/dlq/{queue}/redrive/{id}", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "webhooks"),
        ("id" = String, Path, description = "The redrive", example = "019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"),
    ),
    responses(
        (status = 200, description = "The redrive", body = RedriveBody),
        (status = 404, description = "`queue-not-found` or `redrive-not-found`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn show_redrive(
    _: AdminReader,
    InQueue(queue): InQueue,
    Path(path): Path<RedrivePath>,
    State(operate): State<Operate>,
) -> Result<Json<RedriveBody>, Problem> {
    let redrive = operate.redrives.find(queue, id(&path)?).await?;
    Ok(Json(RedriveBody::new(queue, redrive)))
}

/// Cancel a redrive
///
/// The page in hand is finished. What is done stays done.
#[utoipa::path(
    delete, path = "/api/v1/admin/dlq/{queue}/redrive/{id}", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "webhooks"),
        ("id" = String, Path, description = "The redrive", example = "019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"),
    ),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "It is cancelled", body = RedriveBody),
        (status = 404, description = "`queue-not-found` or `redrive-not-found`"),
        (status = 409, description = "`redrive-over`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn cancel_redrive(
    _: Admin,
    InQueue(queue): InQueue,
    Path(path): Path<RedrivePath>,
    State(operate): State<Operate>,
    context: RequestContext,
    OptionalJson(body): OptionalJson<ReasonBody>,
) -> Result<Json<RedriveBody>, Problem> {
    say(&operate, queue, &path, RedriveWord::Cancel, &said(&context, body)?).await
}

/// Let a redrive rest
///
/// The page in hand is finished.
#[utoipa::path(
    post, path = "/api/v1/admin/dlq/{queue}/redrive/{id}/pause", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "webhooks"),
        ("id" = String, Path, description = "The redrive", example = "019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"),
    ),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "It is paused", body = RedriveBody),
        (status = 404, description = "`queue-not-found` or `redrive-not-found`"),
        (status = 409, description = "`redrive-over`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn pause_redrive(
    _: Admin,
    InQueue(queue): InQueue,
    Path(path): Path<RedrivePath>,
    State(operate): State<Operate>,
    context: RequestContext,
    OptionalJson(body): OptionalJson<ReasonBody>,
) -> Result<Json<RedriveBody>, Problem> {
    say(&operate, queue, &path, RedriveWord::Pause, &said(&context, body)?).await
}

/// Let a redrive go on
///
/// One that is paused, or that stopped by itself: then its failures so far no longer count against it.
#[utoipa::path(
    post, path = "/api/v1/admin/dlq/{queue}/redrive/{id}/resume", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "webhooks"),
        ("id" = String, Path, description = "The redrive", example = "019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"),
    ),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "It goes on", body = RedriveBody),
        (status = 404, description = "`queue-not-found` or `redrive-not-found`"),
        (status = 409, description = "`redrive-over` or `redrive-active`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn resume_redrive(
    _: Admin,
    InQueue(queue): InQueue,
    Path(path): Path<RedrivePath>,
    State(operate): State<Operate>,
    context: RequestContext,
    OptionalJson(body): OptionalJson<ReasonBody>,
) -> Result<Json<RedriveBody>, Problem> {
    say(&operate, queue, &path, RedriveWord::Resume, &said(&context, body)?).await
}

async fn say(
    operate: &Operate,
    queue: Queue,
    path: &RedrivePath,
    word: RedriveWord,
    order: &Order,
) -> Result<Json<RedriveBody>, Problem> {
    let redrive = operate.redrives.say(queue, id(path)?, word, order).await?;
    Ok(Json(RedriveBody::new(queue, redrive)))
}
