//! What the `outbox` table knows of the dead-letter queue: who was handed over to it because analytics
//! would not have them.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

/// An event that analytics refused.
#[derive(Clone, Debug)]
pub struct RefusedEvent {
    pub uuid: Uuid,
    pub last_error: Option<String>,
    pub request_id: Option<String>,
}

/// Up to `limit` refused events of which the queue does not know yet, oldest first.
pub async fn list_new(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<RefusedEvent>> {
    sqlx::query_as!(
        RefusedEvent,
        "select uuid, last_error, request_id from outbox
         where status = 'refused' and handed_over_at is null and shelved_at is null
         order by id
         limit $1",
        limit,
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` refused events whose letter was last seen before `before`, longest ago first.
pub async fn list_handed_over(
    db: impl PgExecutor<'_>,
    before: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<RefusedEvent>> {
    sqlx::query_as!(
        RefusedEvent,
        "select uuid, last_error, request_id from outbox
         where status = 'refused' and handed_over_at <= $1 and shelved_at is null
         order by handed_over_at
         limit $2",
        before,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Notes that the queue has their letters at this moment.
pub async fn set_handed_over(
    db: impl PgExecutor<'_>,
    uuids: &[Uuid],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox set handed_over_at = $2 where uuid = any($1) and status = 'refused'",
        uuids,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets of up to `limit` refused events that their letters were seen after `before`; tells of how
/// many.
pub async fn forget_seen(
    db: impl PgExecutor<'_>,
    before: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "update outbox set handed_over_at = $1
         where id in (
             select id from outbox where status = 'refused' and handed_over_at > $1 limit $2
         )",
        before,
        limit,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}
