//! What the `webhook_events` table knows of the dead-letter queue: who was handed over to it.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};
use uuid::Uuid;

/// An event whose attempts are used up, and of which the queue does not know yet.
#[derive(Clone, Debug)]
pub struct FailedEvent {
    pub id: Uuid,
    pub source: String,
    pub dedupe_key: String,
    pub last_error: Option<String>,
    pub error_class: Option<String>,
    /// In lower-case hex.
    pub body_sha256: String,
    pub request_id: String,
    pub trace_id: Option<String>,
}

/// Up to `limit` events that failed and were not handed over, oldest first.
pub async fn list_failed(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<FailedEvent>> {
    sqlx::query_as!(
        FailedEvent,
        r#"select id, source, dedupe_key, last_error, error_class,
             encode(body_sha256, 'hex') as "body_sha256!", request_id, trace_id
         from webhook_events
         where status = 'failed' and handed_over_at is null and shelved_at is null
         order by received_at
         limit $1"#,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` events that failed and whose letter was last seen before `before`, longest ago first.
pub async fn list_handed_over(
    db: impl PgExecutor<'_>,
    before: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<FailedEvent>> {
    sqlx::query_as!(
        FailedEvent,
        r#"select id, source, dedupe_key, last_error, error_class,
             encode(body_sha256, 'hex') as "body_sha256!", request_id, trace_id
         from webhook_events
         where status = 'failed' and handed_over_at <= $1 and shelved_at is null
         order by handed_over_at
         limit $2"#,
        before,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Notes that the queue has their letters at this moment.
pub async fn confirm_handed_over(
    db: impl PgExecutor<'_>,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_events set handed_over_at = $2 where id = any($1) and status = 'failed'",
        ids,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets of up to `limit` failed events that their letters were seen after `before`; tells of how many.
pub async fn forget_seen(
    db: impl PgExecutor<'_>,
    before: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "update webhook_events set handed_over_at = $1
         where id in (
             select id from webhook_events where status = 'failed' and handed_over_at > $1 limit $2
         )",
        before,
        limit,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// Notes that the queue has a letter for the event; `false` when that was noted before.
pub async fn set_handed_over(
    tx: &mut PgTransaction<'_>,
    id: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "update webhook_events set handed_over_at = $2
         where id = $1 and status = 'failed' and handed_over_at is null",
        id,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Where an event stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The workers have it.
    Received,
    /// Nothing is left to be done.
    Ended,
    /// Its attempts are used up.
    Failed,
}

/// An event as its letter needs to know it.
#[derive(Clone, Debug)]
pub struct OwedEvent {
    pub standing: Standing,
    pub payment_id: Option<String>,
}

/// The event with this id; nothing if there is none.
pub async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<OwedEvent>> {
    let row = sqlx::query!("select status, payment_id from webhook_events where id = $1", id)
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let standing = match row.status.as_str() {
        "received" => Standing::Received,
        "failed" => Standing::Failed,
        "done" | "ignored" => Standing::Ended,
        // A word of a later release: its letter must not go because this one cannot read it.
        other => return Err(sqlx::Error::Decode(format!("status `{other}`").into())),
    };
    Ok(Some(OwedEvent { standing, payment_id: row.payment_id }))
}
