//! `/api/v1/admin/audit`: who changed what, and why.

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::app::AppState;
use crate::db;
use crate::db::audit_log::{AuditFilter, AuditRow};
use crate::http::auth::AdminReader;
use crate::http::checkout::short_text;
use crate::http::extract::{Json, Query};
use crate::http::problem::Problem;
use crate::http::problems::{Fault, Fields};

/// Changes in one answer.
const PAGE: usize = 50;

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_audit))
}

/// Which changes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AuditQuery {
    /// Who made them.
    #[param(example = "key:5f2b8c1d")]
    actor: Option<String>,
    /// What was done.
    #[param(example = "review.resolved")]
    action: Option<String>,
    /// Not older than this.
    #[param(example = "2026-01-02T03:04:05Z")]
    since: Option<String>,
    /// The `next_cursor` of the page before.
    #[param(example = "019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f")]
    cursor: Option<String>,
}

/// Who changed what, newest first.
#[derive(Serialize, ToSchema)]
struct AuditList {
    audit: Vec<AuditBody>,
    /// For the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"))]
    next_cursor: Option<Uuid>,
}

/// A change that somebody, or a part of the service, made.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct AuditBody {
    id: Uuid,
    happened_at: DateTime<Utc>,
    /// A key or a token by its name, or a part of the service.
    #[schema(examples("key:5f2b8c1d"))]
    actor: String,
    #[schema(examples("review.resolved"))]
    action: String,
    /// What was changed.
    #[schema(examples("b61e6ba5-3682-4dd6-b804-69b84b2d451c"))]
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("paid twice by mistake; the customer was called"))]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    after: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"))]
    request_id: Option<String>,
}

impl From<AuditRow> for AuditBody {
    fn from(row: AuditRow) -> Self {
        let AuditRow { id, happened_at, actor, action, subject, .. } = row;
        let AuditRow { reason, before, after, request_id, .. } = row;
        Self { id, happened_at, actor, action, subject, reason, before, after, request_id }
    }
}

/// Who changed what, and why.
#[utoipa::path(
    get, path = "/api/v1/admin/audit", tag = "admin",
    responses(
        (status = 200, description = "A page of changes, newest first", body = AuditList),
        (status = 422, description = "`invalid-request`"),
        (status = 503, description = "`storage-unavailable`"),
    ),
    security(("api_key" = ["admin:read"]), ("bearer" = ["admin:read"])),
)]
async fn list_audit(
    _: AdminReader,
    State(db): State<PgPool>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditList>, Problem> {
    let filter = query.parse()?;
    // One more than is shown tells whether there is a next page.
    let limit = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
    let mut rows = db::in_time(db::audit_log::list(&db, &filter, limit)).await?;
    let has_more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next_cursor = rows.last().filter(|_| has_more).map(|row| row.id);
    Ok(Json(AuditList { audit: rows.into_iter().map(AuditBody::from).collect(), next_cursor }))
}

impl AuditQuery {
    fn parse(self) -> Result<AuditFilter, Problem> {
        let mut fields = Fields::default();
        let actor = fields.optional("/actor", self.actor, |text| short_text(text, 100));
        let action = fields.optional("/action", self.action, |text| short_text(text, 100));
        let since = fields.optional("/since", self.since, |text| {
            text.parse::<DateTime<Utc>>().map_err(|_| Fault::InvalidValue)
        });
        let before = fields.optional("/cursor", self.cursor, |text| {
            Uuid::try_parse(&text).map_err(|_| Fault::InvalidValue)
        });
        let (Some(actor), Some(action), Some(since), Some(before)) = (actor, action, since, before)
        else {
            return Err(fields.refuse());
        };
        Ok(AuditFilter { actor, action, since, before })
    }
}
