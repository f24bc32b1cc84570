//! The rows whose dead letter an operator deleted, in `webhook_events` and `outbox`: nobody writes their
//! letters anew.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

/// Notes that the letters of these events were deleted, as far as the events still need them.
pub async fn shelve_events(
    db: impl PgExecutor<'_>,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_events set shelved_at = $2 where id = any($1) and status = 'failed'",
        ids,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that the letters of these outbox rows were deleted, as far as the rows still need them.
pub async fn shelve_outbox(
    db: impl PgExecutor<'_>,
    uuids: &[Uuid],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox set shelved_at = $2 where uuid = any($1) and status = 'refused'",
        uuids,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that they are there again, or were not deleted after all.
pub async fn unshelve_events(db: impl PgExecutor<'_>, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("update webhook_events set shelved_at = null where id = any($1)", ids)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes that they are there again, or were not deleted after all.
pub async fn unshelve_outbox(db: impl PgExecutor<'_>, uuids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("update outbox set shelved_at = null where uuid = any($1)", uuids)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes that every letter of a provider's event is there again that was deleted after `since`.
pub async fn unshelve_all_events(
    db: impl PgExecutor<'_>,
    since: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_events set shelved_at = null where status = 'failed' and shelved_at > $1",
        since,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that every letter of an outbox row is there again that was deleted after `since`.
pub async fn unshelve_all_outbox(
    db: impl PgExecutor<'_>,
    since: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox set shelved_at = null where status = 'refused' and shelved_at > $1",
        since,
    )
    .execute(db)
    .await?;
    Ok(())
}
