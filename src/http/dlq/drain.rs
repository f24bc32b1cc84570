//! Replay on an operator's word: a queue, one entry, or in rehearsal.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{EntryPath, InQueue, ReasonBody, cursor, limit, said};
use crate::domain::disclosure::veiled;
use crate::domain::redaction::redact;
use crate::flows::idempotency::Answered;
use crate::flows::letters::operate::Operate;
use crate::flows::letters::operate::drain::{Drained, Stopped};
use crate::flows::letters::operate::rehearse::{Prospect, Rehearsal, Rehearsed};
use crate::flows::letters::replay_letter::{Outcome, Replayed};
use crate::http::auth::Admin;
use crate::http::edge::RequestContext;
use crate::http::extract::{Path, Query};
use crate::http::idempotency::{KeyedOrder, Replayable};
use crate::http::problem::Problem;
use crate::http::problems::Fields;
use crate::queue::{Cursor, Queue};

/// Entries of one drain, where nothing is said.
const PAGE: u64 = 10;

/// How many, and whether in earnest.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DrainQuery {
    /// How many, 1 to 100; 10 where nothing is said.
    #[param(minimum = 1, maximum = 100, example = 10)]
    limit: Option<u64>,
    /// Whether it is only rehearsed: nothing stays written, nothing is attempted.
    dry_run: Option<bool>,
    /// The `next_cursor` of the drain before: what that has tried is not tried again.
    cursor: Option<String>,
}

/// What a drain did, or would do.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = DrainAnswer)]
pub(super) enum DrainBody {
    Drained(DrainedBody),
    Rehearsed(RehearsalBody),
}

/// What a drain did.
#[derive(Serialize, ToSchema)]
#[schema(as = Drained)]
pub(super) struct DrainedBody {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    /// How many entries were tried.
    #[schema(examples(2))]
    processed: usize,
    /// The same as `succeeded`.
    #[schema(examples(1))]
    drained: usize,
    /// What was owed is done, by this drain or by somebody else before.
    #[schema(examples(1))]
    succeeded: usize,
    /// Failed, and due again later.
    #[schema(examples(1))]
    re_queued: usize,
    /// Given up.
    #[schema(examples(0))]
    dead: usize,
    /// Nobody's attempt: what they need is away, or nobody does it yet.
    #[schema(examples(0))]
    held: usize,
    /// How many unresolved entries the queue still has.
    #[schema(examples(3))]
    remaining: u64,
    /// For the next drain, if there may be more; what this one has tried, that one does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("019b7e3c5a106d6f79617361723a6531"))]
    next_cursor: Option<String>,
    /// `deadline` if it had taken 20 s, `shutdown` if the process was told to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, examples("deadline"))]
    stopped: Option<&'static str>,
    items: Vec<ReplayedBody>,
}

/// What became of one entry.
#[derive(Serialize, ToSchema)]
#[schema(as = ReplayedDeadLetter)]
pub(super) struct ReplayedBody {
    #[schema(examples("moyasar:0b5e7a5c"))]
    id: String,
    #[schema(examples("moyasar"))]
    source: String,
    #[schema(value_type = String, examples("succeeded", "superseded", "re_queued", "dead", "held"))]
    outcome: &'static str,
    /// Why it is not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("the provider does not know this payment"))]
    error: Option<String>,
}

impl From<Replayed> for ReplayedBody {
    fn from(Replayed { id, source, outcome, error }: Replayed) -> Self {
        let error = error.map(|error| redact(&error).into_owned());
        Self { id, source: redact(&source).into_owned(), outcome: outcome.name(), error }
    }
}

impl DrainedBody {
    fn new(queue: Queue, drained: Drained) -> Self {
        let (here, elsewhere) =
            (drained.count(Outcome::Succeeded), drained.count(Outcome::Superseded));
        Self {
            queue: queue.name(),
            processed: drained.items.len(),
            drained: here + elsewhere,
            succeeded: here + elsewhere,
            re_queued: drained.count(Outcome::ReQueued),
            dead: drained.count(Outcome::Dead),
            held: drained.count(Outcome::Held),
            remaining: drained.remaining,
            next_cursor: drained.next.map(|next| next.to_string()),
            stopped: drained.stopped.map(Stopped::name),
            items: drained.items.into_iter().map(ReplayedBody::from).collect(),
        }
    }
}

/// What a drain would do.
#[derive(Serialize, ToSchema)]
#[schema(as = DrainRehearsal)]
pub(super) struct RehearsalBody {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    /// Always true.
    dry_run: bool,
    /// How many entries were looked at.
    #[schema(examples(2))]
    rehearsed: usize,
    #[schema(examples(1))]
    would_succeed: usize,
    #[schema(examples(1))]
    would_fail: usize,
    /// Somebody else has done it.
    #[schema(examples(0))]
    superseded: usize,
    /// What they need is away, or nobody does it yet.
    #[schema(examples(0))]
    held: usize,
    /// How many unresolved entries the queue has.
    #[schema(examples(3))]
    remaining: u64,
    /// For the next rehearsal, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("019b7e3c5a106d6f79617361723a6531"))]
    next_cursor: Option<String>,
    /// `deadline` if it had taken 20 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, examples("deadline"))]
    stopped: Option<&'static str>,
    items: Vec<RehearsedBody>,
}

/// What would become of one entry.
#[derive(Serialize, ToSchema)]
#[schema(as = RehearsedDeadLetter)]
pub(super) struct RehearsedBody {
    #[schema(examples("moyasar:0b5e7a5c"))]
    id: String,
    #[schema(examples("moyasar"))]
    source: String,
    #[schema(value_type = String, examples("would_succeed", "would_fail", "superseded", "held"))]
    outcome: &'static str,
    /// Why it would not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("the provider does not know this payment"))]
    error: Option<String>,
    /// What analytics would be told.
    outbox: Vec<OutboxBody>,
    /// An event that only the queue has is done with when it is stored: here is what would keep the
    /// workers from settling it then, as things are now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    then: Option<ThenBody>,
}

/// What would become of it afterwards.
#[derive(Serialize, ToSchema)]
#[schema(as = ForeseenTrouble)]
pub(super) struct ThenBody {
    #[schema(value_type = String, examples("would_fail", "held"))]
    outcome: &'static str,
    #[schema(examples("the provider does not know this payment"))]
    error: String,
}

/// An event that analytics would be told.
#[derive(Serialize, ToSchema)]
#[schema(as = ForeseenEvent)]
pub(super) struct OutboxBody {
    #[schema(examples("payment_succeeded"))]
    name: String,
    /// Redacted.
    #[schema(example = json!({ "plan": "starter", "amount_halalas": 99_000 }))]
    properties: Value,
}

impl From<Rehearsed> for RehearsedBody {
    fn from(rehearsed: Rehearsed) -> Self {
        let events = rehearsed
            .events
            .into_iter()
            .map(|event| OutboxBody { properties: veiled(&event.properties), name: event.name });
        Self {
            id: rehearsed.id,
            source: redact(&rehearsed.source).into_owned(),
            outcome: rehearsed.prospect.name(),
            error: rehearsed.error.map(|error| redact(&error).into_owned()),
            outbox: events.collect(),
            then: rehearsed.afterwards.map(|(prospect, error)| ThenBody {
                outcome: prospect.name(),
                error: redact(&error).into_owned(),
            }),
        }
    }
}

impl RehearsalBody {
    fn new(queue: Queue, rehearsal: Rehearsal) -> Self {
        Self {
            queue: queue.name(),
            dry_run: true,
            rehearsed: rehearsal.items.len(),
            would_succeed: rehearsal.count(Prospect::WouldSucceed),
            would_fail: rehearsal.count(Prospect::WouldFail),
            superseded: rehearsal.count(Prospect::Superseded),
            held: rehearsal.count(Prospect::Held),
            remaining: rehearsal.depth,
            next_cursor: rehearsal.next.as_ref().map(Cursor::to_string),
            stopped: rehearsal.stopped.map(Stopped::name),
            items: rehearsal.items.into_iter().map(RehearsedBody::from).collect(),
        }
    }
}

/// Replay the entries of a queue
///
/// What is ready or scheduled, oldest first, each at most once, also on a paused queue, never the dead.
/// It goes on when the client hangs up. With `dry_run=true` it says what would happen, whatever its key.
#[utoipa::path(
    post, path = "/api/v1/admin/dlq/{queue}/drain", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "webhooks"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 visible characters: the same order with the same key drains once",
            example = "7f3a9c52-drain-1", min_length = 1, max_length = 255),
    ),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "What became of each, or would", body = DrainBody,
            headers(("Idempotent-Replayed" = Option<String>,
                description = "`true` if this answer was given before"))),
        (status = 404, description = "`queue-not-found`"),
        (status = 409, description = "`request-in-progress`: ask again after `Retry-After`"),
        (status = 422, description = "`invalid-request`, `idempotency-key-reused`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn drain_queue(
    _: Admin,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
    context: RequestContext,
    Query(query): Query<DrainQuery>,
    KeyedOrder { body, key }: KeyedOrder<ReasonBody>,
) -> Result<Replayable<DrainBody>, Problem> {
    let is_rehearsal = query.dry_run.unwrap_or_default();
    let (number, after) = query.parse()?;
    let order = said(&context, body)?;
    Ok(if is_rehearsal {
        let rehearsal = Answered::new(operate.rehearse(queue, number, after).await?);
        Replayable::of(rehearsal, |it| DrainBody::Rehearsed(RehearsalBody::new(queue, it)))
    } else {
        let drained = operate.drain(queue, number, after, order, key).await?;
        Replayable::of(drained, |it| DrainBody::Drained(DrainedBody::new(queue, it)))
    })
}

impl DrainQuery {
    fn parse(self) -> Result<(usize, Option<Cursor>), Problem> {
        let mut fields = Fields::default();
        let number = fields.required("/limit", self.limit.or(Some(PAGE)), limit);
        let cursor = fields.optional("/cursor", self.cursor, |text| cursor(&text));
        number.zip(cursor).ok_or_else(|| fields.refuse())
    }
}

/// Replay one entry
///
/// Whatever its state, unless somebody has it in hand; also on a paused queue.
#[utoipa::path(
    post, path = "/api/v1/admin/dlq/{queue}/entries/{id}/retry", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "webhooks"),
        ("id" = String, Path, description = "The entry", example = "moyasar:0b5e7a5c"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 visible characters: the same order with the same key tries once",
            example = "7f3a9c52-retry-1", min_length = 1, max_length = 255),
    ),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "What became of it", body = ReplayedBody,
            headers(("Idempotent-Replayed" = Option<String>,
                description = "`true` if this answer was given before"))),
        (status = 404, description = "`queue-not-found` or `entry-not-found`"),
        (status = 409, description = "`entry-in-flight` or `request-in-progress`"),
        (status = 422, description = "`invalid-request`, `idempotency-key-reused`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn retry_entry(
    _: Admin,
    InQueue(queue): InQueue,
    Path(EntryPath { id }): Path<EntryPath>,
    State(operate): State<Operate>,
    context: RequestContext,
    KeyedOrder { body, key }: KeyedOrder<ReasonBody>,
) -> Result<Replayable<ReplayedBody>, Problem> {
    let retried = operate.retry(queue, &id, said(&context, body)?, key).await?;
    Ok(Replayable::of(retried, ReplayedBody::from))
}
