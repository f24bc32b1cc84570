//! Delete entries, have them back, and change what one owes.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::view::{EntryDetail, Veil};
use super::{EntryPath, InQueue, LONGEST_REASON, ReasonBody, said};
use crate::flows::letters::operate::Operate;
use crate::flows::letters::operate::drain::Stopped;
use crate::http::auth::Admin;
use crate::http::checkout::short_text;
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, OptionalJson, Path};
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};
use crate::queue::State as EntryState;

/// What was deleted, and until when it can be had back.
#[derive(Serialize, ToSchema)]
pub(super) struct DeletedEntry {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    #[schema(examples("moyasar:0b5e7a5c"))]
    id: String,
    undo_until: DateTime<Utc>,
}

/// Delete an entry
///
/// It can be had back for 30 days.
#[utoipa::path(
    delete, path = "/api/v1/admin/dlq/{queue}/entries/{id}", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "webhooks"),
        ("id" = String, Path, description = "The entry", example = "moyasar:0b5e7a5c"),
    ),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "It is deleted", body = DeletedEntry),
        (status = 404, description = "`queue-not-found` or `entry-not-found`"),
        (status = 409, description = "`entry-in-flight`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn delete_entry(
    _: Admin,
    InQueue(queue): InQueue,
    Path(EntryPath { id }): Path<EntryPath>,
    State(operate): State<Operate>,
    context: RequestContext,
    OptionalJson(body): OptionalJson<ReasonBody>,
) -> Result<Json<DeletedEntry>, Problem> {
    let undo_until = operate.delete(queue, &id, &said(&context, body)?).await?;
    Ok(Json(DeletedEntry { queue: queue.name(), id, undo_until }))
}

/// Other words for what an entry owes, and why.
#[derive(Deserialize, ToSchema)]
#[schema(as = DeadLetterEdit)]
pub(super) struct EditBody {
    /// A JSON object; every byte of it is kept.
    #[schema(value_type = Object, example = json!({ "to": "+966512345678", "template": "welcome" }))]
    payload: Option<Box<RawValue>>,
    #[schema(value_type = String, min_length = 1, max_length = 1000, nullable = false, examples("the number had a typo"))]
    reason: Option<String>,
}

/// Change what an entry owes
///
/// Only of `outbound` and `crm_sync`. The first version is kept with it.
#[utoipa::path(
    put, path = "/api/v1/admin/dlq/{queue}/entries/{id}", tag = "dead letters",
    params(
        ("queue" = String, Path, description = "The queue", example = "outbound"),
        ("id" = String, Path, description = "The entry", example = "job:42"),
    ),
    request_body = EditBody,
    responses(
        (status = 200, description = "The entry, redacted", body = EntryDetail),
        (status = 404, description = "`queue-not-found` or `entry-not-found`"),
        (status = 409, description = "`not-editable` or `entry-in-flight`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn edit_entry(
    _: Admin,
    InQueue(queue): InQueue,
    Path(EntryPath { id }): Path<EntryPath>,
    State(operate): State<Operate>,
    context: RequestContext,
    Json(body): Json<EditBody>,
) -> Result<Json<EntryDetail>, Problem> {
    let (payload, reason) = body.parse()?;
    let order = super::order(&context, Some(reason));
    let entry = operate.edit(queue, &id, &payload, &order).await?;
    Ok(Json(EntryDetail::of(queue, &entry, Veil::Drawn)))
}

impl EditBody {
    fn parse(self) -> Result<(String, String), Problem> {
        let mut fields = Fields::default();
        let payload = fields.required("/payload", self.payload, |payload| {
            let is_object = matches!(serde_json::from_str(payload.get()), Ok(Value::Object(_)));
            if is_object { Ok(payload.get().to_owned()) } else { Err(Fault::WrongType) }
        });
        let reason =
            fields.required("/reason", self.reason, |text| short_text(text, LONGEST_REASON));
        payload.zip(reason).ok_or_else(|| fields.refuse())
    }
}

/// Which entries, and why. Both may be left out.
#[derive(Deserialize, ToSchema)]
pub(super) struct PurgeBody {
    /// `ready`, `scheduled` or `dead`; all three where nothing is said.
    #[schema(value_type = String, required = false, examples("dead"))]
    state: Option<String>,
    #[schema(value_type = String, min_length = 1, max_length = 1000, required = false, examples("a test that went wrong"))]
    reason: Option<String>,
}

/// What was deleted, and until when it can be had back.
#[derive(Serialize, ToSchema)]
pub(super) struct PurgedQueue {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    /// How many entries.
    #[schema(examples(2))]
    purged: usize,
    undo_until: DateTime<Utc>,
    /// `deadline` if it had taken 20 s: the same request again goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, examples("deadline"))]
    stopped: Option<&'static str>,
}

/// Delete the entries of a queue
///
/// Those that are there at this moment and that nobody has in hand. They can be had back for 30 days.
#[utoipa::path(
    post, path = "/api/v1/admin/dlq/{queue}/purge", tag = "dead letters",
    params(("queue" = String, Path, description = "The queue", example = "webhooks")),
    request_body = Option<PurgeBody>,
    responses(
        (status = 200, description = "They are deleted", body = PurgedQueue),
        (status = 404, description = "`queue-not-found`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn purge_queue(
    _: Admin,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
    context: RequestContext,
    OptionalJson(body): OptionalJson<PurgeBody>,
) -> Result<Json<PurgedQueue>, Problem> {
    let mut fields = Fields::default();
    let state = fields.optional("/state", body.state, |name| match EntryState::named(&name) {
        // What is in somebody's hands is not taken out of them.
        None | Some(EntryState::InFlight) => Err(Fault::InvalidValue),
        Some(state) => Ok(state),
    });
    let reason = fields.optional("/reason", body.reason, |text| short_text(text, LONGEST_REASON));
    let (state, reason) = state.zip(reason).ok_or_else(|| fields.refuse())?;
    let purged = operate.purge(queue, state, super::order(&context, reason)).await?;
    Ok(Json(PurgedQueue {
        queue: queue.name(),
        purged: purged.number,
        undo_until: purged.undo_until,
        stopped: purged.stopped.map(Stopped::name),
    }))
}

/// Which entry, and why. Both may be left out.
#[derive(Deserialize, ToSchema)]
pub(super) struct RestoreBody {
    /// One entry; everything that was deleted from the queue where nothing is said.
    #[schema(value_type = String, required = false, examples("moyasar:0b5e7a5c"))]
    id: Option<String>,
    #[schema(value_type = String, min_length = 1, max_length = 1000, required = false, examples("deleted by mistake"))]
    reason: Option<String>,
}

/// What is there again.
#[derive(Serialize, ToSchema)]
pub(super) struct RestoredQueue {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    /// How many entries.
    #[schema(examples(2))]
    restored: u64,
    /// `deadline` if it had taken 20 s: the same request again goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, examples("deadline"))]
    stopped: Option<&'static str>,
}

/// Take back what was deleted from a queue in the last 30 days
///
/// Each entry returns to the state that it had; one that is there again meanwhile stays as it is.
#[utoipa::path(
    post, path = "/api/v1/admin/dlq/{queue}/restore", tag = "dead letters",
    params(("queue" = String, Path, description = "The queue", example = "webhooks")),
    request_body = Option<RestoreBody>,
    responses(
        (status = 200, description = "They are there again", body = RestoredQueue),
        (status = 404, description = "`queue-not-found` or `entry-not-found`"),
        (status = 503, description = "`queue-unavailable` or `storage-unavailable`"),
    ),
)]
pub(super) async fn restore_queue(
    _: Admin,
    InQueue(queue): InQueue,
    State(operate): State<Operate>,
    context: RequestContext,
    OptionalJson(body): OptionalJson<RestoreBody>,
) -> Result<Json<RestoredQueue>, Problem> {
    let order = said(&context, ReasonBody { reason: body.reason })?;
    let restored = operate.restore(queue, body.id, order).await?;
    let (restored, stopped) = (restored.number, restored.stopped.map(Stopped::name));
    Ok(Json(RestoredQueue { queue: queue.name(), restored, stopped }))
}
