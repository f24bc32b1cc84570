//! The entries of a queue: listed, peeked at, and shown one by one.

use axum::extract::State;
use axum::http::Method;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::view::{EntryDetail, EntrySummary, PeekedEntry, Veil};
use super::{EntryPath, InQueue, cursor, limit, order, unavailable};
use crate::access::Scope;
use crate::clock::Clock;
use crate::flows::letters::operate::Operate;
use crate::http::auth::AdminReader;
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, Path, Query};
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};
use crate::queue::{Cursor, Filter, State as EntryState};

/// Entries in one answer, where nothing is said.
const PAGE: u64 = 20;
const PEEK: u64 = 10;

/// Which entries. Every condition counts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EntryQuery {
    /// How many, 1 to 100; 20 where nothing is said.
    #[param(minimum = 1, maximum = 100, example = 20)]
    limit: Option<u64>,
    /// `ready`, `scheduled`, `in_flight` or `dead`; all where nothing is said.
    #[param(example = "dead")]
    state: Option<String>,
    /// The class of the last failure.
    #[param(example = "unknown_payment")]
    error: Option<String>,
    /// What could not be done.
    #[param(example = "moyasar")]
    source: Option<String>,
    /// The fingerprint of a group.
    group: Option<String>,
    /// The request that it came with.
    request_id: Option<String>,
    /// Only what came longer ago than so many seconds.
    #[param(minimum = 0, maximum = 4_000_000_000_u64, example = 3600)]
    older_than_s: Option<u64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Entries of a queue, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryList {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    entries: Vec<EntrySummary>,
    /// How many this answer has.
    #[schema(examples(1))]
    count: usize,
    /// For the next page, if there is one; a page may be short and still have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("MTc2NzMyMzA0NTAwMDptb3lhc2FyOmUx"))]
    next_cursor: Option<String>,
}

/// The entries of a queue
///
/// Oldest first, over all of them, whatever their state.
#[utoipa::path(
    get, path = "/api/v1/admin/dlq/{queue}", tag = "dead letters",
    params(("queue" = String, Path, description = "The queue", example = "webhooks")),
    responses(
        (status = 200, description = "A page of entries", body = EntryList),
        (status = 404, description = "`queue-not-found`"),
        (status = 503, description = "`queue-unavailable`"),
    ),
)]
pub(super) async fn list_entries(
    _: AdminReader,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
    State(clock): State<Clock>,
    Query(query): Query<EntryQuery>,
) -> Result<Json<EntryList>, Problem> {
    let now = clock.now();
    let (number, filter, cursor) = query.parse(now)?;
    let page = operate.letters.page(queue, &filter, cursor.as_ref(), number, now).await;
    let page = page.map_err(|error| unavailable(&error))?;
    let entries: Vec<_> = page.items.iter().map(EntrySummary::of).collect();
    let next_cursor = page.next.map(|cursor| cursor.to_string());
    Ok(Json(EntryList { queue: queue.name(), count: entries.len(), entries, next_cursor }))
}

impl EntryQuery {
    fn parse(self, now: DateTime<Utc>) -> Result<(usize, Filter, Option<Cursor>), Problem> {
        let mut fields = Fields::default();
        let number = fields.required("/limit", self.limit.or(Some(PAGE)), limit);
        let state = fields.optional("/state", self.state, |name| {
            EntryState::named(&name).ok_or(Fault::InvalidValue)
        });
        let older_than = fields.optional("/older_than_s", self.older_than_s, |seconds| {
            let seconds = i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds);
            seconds.and_then(|age| now.checked_sub_signed(age)).ok_or(Fault::InvalidValue)
        });
        let cursor = fields.optional("/cursor", self.cursor, |text| cursor(&text));
        let (Some(number), Some(state), Some(older_than), Some(cursor)) =
            (number, state, older_than, cursor)
        else {
            return Err(fields.refuse());
        };
        let filter = Filter {
            states: state.into_iter().collect(),
            error_class: self.error,
            source: self.source,
            group: self.group,
            request_id: self.request_id,
            older_than,
            mark: None,
        };
        Ok((number, filter, cursor))
    }
}

/// How many to peek at.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PeekQuery {
    /// How many, 1 to 100; 10 where nothing is said.
    #[param(minimum = 1, maximum = 100, example = 10)]
    n: Option<u64>,
}

/// The oldest entries of a queue.
#[derive(Serialize, ToSchema)]
pub(super) struct Peek {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    /// How many this answer has.
    #[schema(examples(1))]
    returned: usize,
    /// How many there are.
    #[schema(examples(2))]
    depth: u64,
    items: Vec<PeekedEntry>,
}

/// The oldest entries of a queue, at a glance
#[utoipa::path(
    get, path = "/api/v1/admin/dlq/{queue}/peek", tag = "dead letters",
    params(("queue" = String, Path, description = "The queue", example = "webhooks")),
    responses(
        (status = 200, description = "The oldest entries", body = Peek),
        (status = 404, description = "`queue-not-found`"),
        (status = 503, description = "`queue-unavailable`"),
    ),
)]
pub(super) async fn peek_entries(
    _: AdminReader,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
    State(clock): State<Clock>,
    Query(query): Query<PeekQuery>,
) -> Result<Json<Peek>, Problem> {
    let mut fields = Fields::default();
    let number = fields.required("/n", query.n.or(Some(PEEK)), limit);
    let number = number.ok_or_else(|| fields.refuse())?;
    let (letters, now) = (&operate.letters, clock.now());
    let all = Filter::default();
    let page = letters.page(queue, &all, None, number, now).await;
    let page = page.map_err(|error| unavailable(&error))?;
    let depth = letters.count(queue, now).await.map_err(|error| unavailable(&error))?.depth();
    let items: Vec<_> = page.items.iter().map(PeekedEntry::of).collect();
    Ok(Json(Peek { queue: queue.name(), returned: items.len(), depth, items }))
}

/// How much of an entry.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RevealQuery {
    /// Whether its payload is shown as it is, which needs scope `admin` and leaves an audit row.
    reveal: Option<bool>,
}

/// One entry
///
/// Its payload is redacted, unless it is to be revealed.
#[utoipa::path(
    get, path = "/api/v1/admin/dlq/{queue}/entries/{id}", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "webhooks"),
        ("id" = String, Path, description = "The entry", example = "moyasar:0b5e7a5c"),
    ),
    responses(
        (status = 200, description = "The entry", body = EntryDetail),
        (status = 404, description = "`queue-not-found` or `entry-not-found`"),
        (status = 503, description = "`queue-unavailable` or, of an entry to be revealed, `storage-unavailable`"),
    ),
)]
pub(super) async fn show_entry(
    _: AdminReader,
    InQueue(queue): InQueue,
    Path(EntryPath { id }): Path<EntryPath>,
    State(operate): State<Operate>,
    Query(query): Query<RevealQuery>,
    context: RequestContext,
    method: Method,
) -> Result<Json<EntryDetail>, Problem> {
    let is_revealed = query.reveal.unwrap_or_default();
    let is_admin = context.caller().is_some_and(|caller| caller.scope.allows(Scope::Admin));
    if is_revealed && !is_admin {
        return Err(Problem::Forbidden);
    }
    // A HEAD shows nothing, and has no effects.
    if is_revealed && method != Method::HEAD {
        let revealed = operate.reveal(queue, &id, &order(&context, None)).await?;
        return Ok(Json(EntryDetail::of(queue, &revealed.entry, Veil::Lifted).with(revealed.row)));
    }
    let entry = operate.get(queue, &id).await?;
    Ok(Json(EntryDetail::of(queue, &entry, Veil::Drawn)))
}
