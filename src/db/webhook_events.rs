//! The `webhook_events` table; its leases are in [`webhook_leases`](crate::db::webhook_leases).

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

/// An event as it came in, its secret blanked.
#[derive(Clone, Debug)]
pub struct NewEvent<'a> {
    pub id: Uuid,
    pub source: &'a str,
    pub dedupe_key: &'a str,
    pub event_type: Option<&'a str>,
    pub payment_id: Option<&'a str>,
    pub body: &'a [u8],
    pub body_sha256: &'a [u8],
    /// Whether anything is to be done about it.
    pub is_settled: bool,
    /// Why nothing is to be done, if so.
    pub outcome: Option<&'a str>,
    pub request_id: &'a str,
    pub trace_id: Option<&'a str>,
    pub received_at: DateTime<Utc>,
}

/// Stores the event; `false` when an event with its key is stored already. Waits for one that is
/// just being stored, so that a duplicate is never told of an event that is nowhere.
pub async fn insert(db: impl PgExecutor<'_>, new: &NewEvent<'_>) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "insert into webhook_events (id, source, dedupe_key, event_type, payment_id, body, body_sha256,
             status, outcome, next_attempt_at, request_id, trace_id, received_at, done_at)
         values ($1, $2, $3, $4, $5, $6, $7, case when $8 then 'ignored' else 'received' end, $9, $12,
             $10, $11, $12, case when $8 then $12::timestamptz end)
         on conflict on constraint webhook_events_once do nothing",
        new.id,
        new.source,
        new.dedupe_key,
        new.event_type,
        new.payment_id,
        new.body,
        new.body_sha256,
        new.is_settled,
        new.outcome,
        new.request_id,
        new.trace_id,
        new.received_at,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// An event that was stored before, as a repeated delivery needs to know it.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub id: Uuid,
    pub body_sha256: Vec<u8>,
}

/// The event with that key.
pub async fn get(
    db: impl PgExecutor<'_>,
    source: &str,
    dedupe_key: &str,
) -> sqlx::Result<StoredEvent> {
    sqlx::query_as!(
        StoredEvent,
        "select id, body_sha256 from webhook_events where source = $1 and dedupe_key = $2",
        source,
        dedupe_key,
    )
    .fetch_one(db)
    .await
}

/// How many events wait to be settled, and since when the oldest does.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    pub waiting: i64,
    pub failed: i64,
    pub oldest_at: Option<DateTime<Utc>>,
}

/// What is not settled yet.
pub async fn backlog(db: impl PgExecutor<'_>) -> sqlx::Result<Backlog> {
    sqlx::query_as!(
        Backlog,
        r#"
        select count(*) filter (where status = 'received') as "waiting!",
            count(*) filter (where status = 'failed') as "failed!",
            min(received_at) as oldest_at
        from webhook_events
        where status in ('received', 'failed')
        "#
    )
    .fetch_one(db)
    .await
}
