//! The `webhook_events` table.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};
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

/// An event in the hands of one worker until its lease ends.
#[derive(Clone, Debug)]
pub struct ClaimedEvent {
    pub id: Uuid,
    pub payment_id: Option<String>,
    pub body: Vec<u8>,
    pub attempts: i32,
    pub request_id: String,
}

/// Takes up to `limit` due events for the holder of `token`; other workers look past them.
pub async fn claim(
    db: impl PgExecutor<'_>,
    token: Uuid,
    now: DateTime<Utc>,
    lease_until: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<ClaimedEvent>> {
    sqlx::query_as!(
        ClaimedEvent,
        "with due as (
             select id from webhook_events
             where status = 'received' and next_attempt_at <= $2
                 and (lease_until is null or lease_until < $2)
             order by next_attempt_at
             limit $4
             for update skip locked
         )
         update webhook_events set lease_token = $1, lease_until = $3
         from due where webhook_events.id = due.id
         returning webhook_events.id, payment_id, body, attempts, request_id",
        token,
        now,
        lease_until,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Ends an event that the holder of `token` has settled; `false` when the lease is no longer theirs,
/// and then nothing of the transaction may be kept.
pub async fn finish(
    tx: &mut PgTransaction<'_>,
    id: Uuid,
    token: Uuid,
    outcome: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "update webhook_events set status = 'done', outcome = $3, done_at = $4, lease_token = null,
             lease_until = null, last_error = null
         where id = $1 and lease_token = $2 and status = 'received'",
        id,
        token,
        outcome,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Gives an event back, to be tried again at `next_attempt_at`.
pub async fn release(
    db: impl PgExecutor<'_>,
    id: Uuid,
    token: Uuid,
    attempts: i32,
    error: &str,
    next_attempt_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_events set attempts = $3, last_error = $4, next_attempt_at = $5,
             lease_token = null, lease_until = null
         where id = $1 and lease_token = $2 and status = 'received'",
        id,
        token,
        attempts,
        error,
        next_attempt_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives an event up: its attempts are used up, and a person or the dead-letter queue takes over.
pub async fn fail(
    db: impl PgExecutor<'_>,
    id: Uuid,
    token: Uuid,
    attempts: i32,
    error: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_events set status = 'failed', attempts = $3, last_error = $4,
             lease_token = null, lease_until = null
         where id = $1 and lease_token = $2 and status = 'received'",
        id,
        token,
        attempts,
        error,
    )
    .execute(db)
    .await?;
    Ok(())
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
