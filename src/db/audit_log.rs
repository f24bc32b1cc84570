//! The `audit_log` table: who changed what, and why.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;
use sqlx::types::Json;
use uuid::Uuid;

/// A change that somebody, or a part of the service, made.
#[derive(Clone, Debug)]
pub struct NewAudit<'a> {
    pub actor: &'a str,
    pub action: &'a str,
    pub subject: &'a str,
    /// Why, in the words of whoever did it; a part of the service needs none.
    pub reason: Option<&'a str>,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub request_id: Option<&'a str>,
    pub happened_at: DateTime<Utc>,
}

/// Writes the change, in the transaction that makes it.
pub async fn insert(db: impl PgExecutor<'_>, new: &NewAudit<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into audit_log (id, happened_at, actor, action, subject, reason, before, after,
             request_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        Uuid::now_v7(),
        new.happened_at,
        new.actor,
        new.action,
        new.subject,
        new.reason,
        new.before.as_ref().map(Json) as _,
        new.after.as_ref().map(Json) as _,
        new.request_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct AuditRow {
    pub id: Uuid,
    pub happened_at: DateTime<Utc>,
    pub actor: String,
    pub action: String,
    pub subject: String,
    pub reason: Option<String>,
    pub before: Option<Value>,
    pub after: Option<Value>,
    pub request_id: Option<String>,
}

/// Which changes; what is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<String>,
    pub action: Option<String>,
    pub since: Option<DateTime<Utc>>,
    /// Only those that are older than the one with this id.
    pub before: Option<Uuid>,
}

/// The newest changes that fit, newest first.
pub async fn list(
    db: impl PgExecutor<'_>,
    filter: &AuditFilter,
    limit: i64,
) -> sqlx::Result<Vec<AuditRow>> {
    sqlx::query_as!(
        AuditRow,
        "select id, happened_at, actor, action, subject, reason, before, after, request_id
         from audit_log
         where ($1::text is null or actor = $1) and ($2::text is null or action = $2)
             and ($3::timestamptz is null or happened_at >= $3) and ($4::uuid is null or id < $4)
         order by id desc
         limit $5",
        filter.actor,
        filter.action,
        filter.since,
        filter.before,
        limit,
    )
    .fetch_all(db)
    .await
}
