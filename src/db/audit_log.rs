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
