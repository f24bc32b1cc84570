//! The `webhook_events` table; its leases are in [`webhook_leases`](crate::db::webhook_leases).

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

/// Stores the events that are not stored yet, and returns their ids. Waits for one that is just being
/// stored, so that a duplicate is never told of an event that is nowhere. The keys must differ.
pub async fn insert_all(
    tx: &mut PgTransaction<'_>,
    new: &[NewEvent<'_>],
) -> sqlx::Result<Vec<Uuid>> {
    fn column<'a, T>(new: &'a [NewEvent<'a>], of: impl Fn(&'a NewEvent<'a>) -> T) -> Vec<T> {
        new.iter().map(of).collect()
    }
    sqlx::query_scalar!(
        "insert into webhook_events (id, source, dedupe_key, event_type, payment_id, body, body_sha256,
             status, outcome, next_attempt_at, request_id, trace_id, received_at, done_at)
         select id, source, dedupe_key, event_type, payment_id, body, body_sha256,
             case when is_settled then 'ignored' else 'received' end, outcome, received_at, request_id,
             trace_id, received_at, case when is_settled then received_at end
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bytea[],
             $8::bool[], $9::text[], $10::text[], $11::text[], $12::timestamptz[])
             as new (id, source, dedupe_key, event_type, payment_id, body, body_sha256, is_settled,
                 outcome, request_id, trace_id, received_at)
         -- In one order everywhere: two instances that store the same events would deadlock otherwise.
         order by source, dedupe_key
         on conflict on constraint webhook_events_once do nothing
         returning id",
        &column(new, |event| event.id),
        &column(new, |event| event.source) as &[&str],
        &column(new, |event| event.dedupe_key) as &[&str],
        &column(new, |event| event.event_type) as &[Option<&str>],
        &column(new, |event| event.payment_id) as &[Option<&str>],
        &column(new, |event| event.body) as &[&[u8]],
        &column(new, |event| event.body_sha256) as &[&[u8]],
        &column(new, |event| event.is_settled),
        &column(new, |event| event.outcome) as &[Option<&str>],
        &column(new, |event| event.request_id) as &[&str],
        &column(new, |event| event.trace_id) as &[Option<&str>],
        &column(new, |event| event.received_at),
    )
    .fetch_all(&mut **tx)
    .await
}

/// An event that was stored before, as a repeated delivery needs to know it.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub id: Uuid,
    pub dedupe_key: String,
    pub body_sha256: Vec<u8>,
}

/// The events with those keys.
pub async fn list(
    db: impl PgExecutor<'_>,
    source: &str,
    dedupe_keys: &[&str],
) -> sqlx::Result<Vec<StoredEvent>> {
    sqlx::query_as!(
        StoredEvent,
        "select id, dedupe_key, body_sha256 from webhook_events
         where source = $1 and dedupe_key = any($2)",
        source,
        dedupe_keys as &[&str],
    )
    .fetch_all(db)
    .await
}

/// How many events wait to be settled, and since when the oldest does.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    pub waiting: i64,
    pub failed: i64,
    pub oldest_at: Option<DateTime<Utc>>,
}

/// What is not settled yet; without what an operator has laid aside.
pub async fn backlog(db: impl PgExecutor<'_>) -> sqlx::Result<Backlog> {
    sqlx::query_as!(
        Backlog,
        r#"
        select waiting.number as "waiting!", failed.number as "failed!",
            least(waiting.oldest_at, failed.oldest_at) as oldest_at
        from (
            select count(*) as number, min(received_at) as oldest_at
            from webhook_events where status = 'received'
        ) as waiting, (
            select count(*) as number, min(received_at) as oldest_at
            from webhook_events where status = 'failed' and shelved_at is null
        ) as failed
        "#
    )
    .fetch_one(db)
    .await
}
