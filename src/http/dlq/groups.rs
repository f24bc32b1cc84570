//! Entries that failed alike, shown as one.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{InQueue, cursor, limit, unavailable};
use crate::clock::Clock;
use crate::flows::letters::operate::Operate;
use crate::http::auth::AdminReader;
use crate::http::extract::{Json, Query};
use crate::http::problem::Problem;
use crate::http::problems::Fields;
use crate::queue::{Cursor, Group};

/// Groups in one answer, where nothing is said.
const PAGE: u64 = 50;

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GroupQuery {
    /// How many, 1 to 100; 50 where nothing is said.
    #[param(minimum = 1, maximum = 100, example = 50)]
    limit: Option<u64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The groups of a queue that have entries, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct GroupList {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    groups: Vec<GroupBody>,
    /// For the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, examples("MTc2NzMyMzA0NTAwMDptb3lhc2FyOmUx"))]
    next_cursor: Option<String>,
}

/// Entries that failed alike: the same kind of failure, and the same words but for numbers and names.
#[derive(Serialize, ToSchema)]
#[schema(as = FailureGroup)]
pub(super) struct GroupBody {
    /// Names the group, in filters too.
    #[schema(examples("5f2b8c1d9e0a4c37"))]
    fingerprint: String,
    #[schema(examples("unknown_payment"))]
    error_class: String,
    /// What one of them says.
    #[schema(examples("the provider does not know this payment"))]
    sample_error: String,
    /// How many entries it has now.
    #[schema(examples(3))]
    count: u64,
    first_seen_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    /// The release that saw it first, by its commit.
    #[schema(examples("0a1b2c3d4e5f"))]
    first_release: String,
}

impl From<Group> for GroupBody {
    fn from(group: Group) -> Self {
        Self {
            fingerprint: group.fingerprint,
            error_class: group.error_class,
            sample_error: group.sample_error,
            count: group.count,
            first_seen_at: group.first_seen_at,
            last_seen_at: group.last_seen_at,
            first_release: group.first_release,
        }
    }
}

/// Entries that failed alike
#[utoipa::path(
    get, path = "/api/v1/admin/dlq/{queue}/groups", tag = "dead letters",
    params(("queue" = String, Path, description = "The queue", example = "webhooks")),
    responses(
        (status = 200, description = "A page of groups", body = GroupList),
        (status = 404, description = "`queue-not-found`"),
        (status = 503, description = "`queue-unavailable`"),
    ),
)]
pub(super) async fn list_groups(
    _: AdminReader,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
    State(clock): State<Clock>,
    Query(query): Query<GroupQuery>,
) -> Result<Json<GroupList>, Problem> {
    let (number, cursor) = query.parse()?;
    let page = operate.letters.groups(queue, cursor.as_ref(), number, clock.now()).await;
    let page = page.map_err(|error| unavailable(&error))?;
    Ok(Json(GroupList {
        queue: queue.name(),
        groups: page.items.into_iter().map(GroupBody::from).collect(),
        next_cursor: page.next.map(|cursor| cursor.to_string()),
    }))
}

impl GroupQuery {
    fn parse(self) -> Result<(usize, Option<Cursor>), Problem> {
        let mut fields = Fields::default();
        let number = fields.required("/limit", self.limit.or(Some(PAGE)), limit);
        let cursor = fields.optional("/cursor", self.cursor, |text| cursor(&text));
        number.zip(cursor).ok_or_else(|| fields.refuse())
    }
}
