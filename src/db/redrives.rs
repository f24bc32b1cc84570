//! The `redrives` table: what operators ordered to be replayed as a whole, and how far it has come.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::error::DatabaseError;
use sqlx::{PgExecutor, PgTransaction};
use uuid::Uuid;

use crate::domain::redrive::{RedriveStatus, Tally};

/// An order to replay everything of a queue that matched at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Redrive {
    /// Grows with time.
    pub id: Uuid,
    /// The name of the queue.
    pub queue: String,
    /// What matched, without the mark.
    pub filter: Value,
    /// Letters with a higher number came later.
    pub mark: i64,
    /// None: as fast as it goes.
    pub rate_per_s: Option<i32>,
    /// It stops when more than this share of what was tried is still owed.
    pub stop_at_failure_percent: i32,
    /// Whether the first letter has to succeed before others are tried.
    pub one_first: bool,
    /// How far it has come.
    pub status: RedriveStatus,
    /// Why, if it stopped.
    pub stopped_because: Option<String>,
    /// How many letters matched.
    pub matched: i64,
    /// Whether exactly so many did, or at least.
    pub is_matched_exact: bool,
    /// How many are done, by it or by somebody else before.
    pub succeeded: i64,
    /// How many failed again.
    pub failed: i64,
    /// How many were nobody's attempt, and were left behind.
    pub held: i64,
    /// How many of these were tried before it was last let go on.
    pub excused_tried: i64,
    /// How many of those are still owed.
    pub excused_undone: i64,
    /// Everything before is done with.
    pub cursor: Option<String>,
    /// When the next letter may be taken.
    pub next_at: DateTime<Utc>,
    /// Who ordered it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// By which request.
    pub request_id: String,
    /// When it was ordered.
    pub created_at: DateTime<Utc>,
    /// When it last came further, or somebody said something.
    pub updated_at: DateTime<Utc>,
    /// When it ended or stopped, if it did.
    pub ended_at: Option<DateTime<Utc>>,
}

/// What a page came to.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    pub tally: Tally,
    pub cursor: Option<&'a str>,
    pub next_at: DateTime<Utc>,
    pub status: RedriveStatus,
    pub stopped_because: Option<&'a str>,
    pub now: DateTime<Utc>,
}

/// Writes a new one; `false` when the queue has one that has not ended.
pub async fn insert(db: impl PgExecutor<'_>, new: &Redrive) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "insert into redrives (id, queue, filter, mark, rate_per_s, stop_at_failure_percent,
             one_first, status, matched, is_matched_exact, next_at, actor, reason, request_id,
             created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
         on conflict (queue) where status in ('running', 'paused') do nothing",
        new.id,
        new.queue,
        new.filter,
        new.mark,
        new.rate_per_s,
        new.stop_at_failure_percent,
        new.one_first,
        new.status as RedriveStatus,
        new.matched,
        new.is_matched_exact,
        new.next_at,
        new.actor,
        new.reason,
        new.request_id,
        new.created_at,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// One of a queue.
pub async fn find(db: impl PgExecutor<'_>, queue: &str, id: Uuid) -> sqlx::Result<Option<Redrive>> {
    sqlx::query_as!(
        Redrive,
        r#"
        select id, queue, filter, mark, rate_per_s, stop_at_failure_percent, one_first,
            status as "status: RedriveStatus", stopped_because, matched, is_matched_exact,
            succeeded, failed, held, excused_tried, excused_undone, cursor, next_at, actor, reason,
            request_id, created_at, updated_at, ended_at
        from redrives
        where queue = $1 and id = $2
        "#,
        queue,
        id,
    )
    .fetch_optional(db)
    .await
}

/// The last ones of a queue, newest first.
pub async fn list(db: impl PgExecutor<'_>, queue: &str, limit: i64) -> sqlx::Result<Vec<Redrive>> {
    sqlx::query_as!(
        Redrive,
        r#"
        select id, queue, filter, mark, rate_per_s, stop_at_failure_percent, one_first,
            status as "status: RedriveStatus", stopped_because, matched, is_matched_exact,
            succeeded, failed, held, excused_tried, excused_undone, cursor, next_at, actor, reason,
            request_id, created_at, updated_at, ended_at
        from redrives
        where queue = $1
        order by id desc
        limit $2
        "#,
        queue,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Locks one until the transaction ends, and tells how far it has come.
pub async fn lock(
    tx: &mut PgTransaction<'_>,
    queue: &str,
    id: Uuid,
) -> sqlx::Result<Option<RedriveStatus>> {
    sqlx::query_scalar!(
        r#"
        select status as "status: RedriveStatus" from redrives where queue = $1 and id = $2
        for update
        "#,
        queue,
        id,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Writes what an operator said of a locked one. What was tried before it stopped is excused. Lets none
/// go on while another of its queue has not ended: see [`is_second`].
pub async fn set_status(
    tx: &mut PgTransaction<'_>,
    id: Uuid,
    status: RedriveStatus,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update redrives set status = $2, stopped_because = null, updated_at = $3,
             ended_at = case when $2 = 'cancelled' then coalesce(ended_at, $3) end,
             excused_tried = case status when 'stopped' then succeeded + failed + held
                 else excused_tried end,
             excused_undone = case status when 'stopped' then failed + held
                 else excused_undone end
         where id = $1",
        id,
        status as RedriveStatus,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whether a queue would have had two at a time.
pub fn is_second(error: &sqlx::Error) -> bool {
    let constraint = error.as_database_error().and_then(DatabaseError::constraint);
    constraint == Some("redrives_active")
}

/// Takes one that runs and is due, for longest first; others look past it. Nobody takes more than a few
/// minutes of pace or two hours of lease: what seems to be longer came from a clock that was ahead.
pub async fn claim(
    db: impl PgExecutor<'_>,
    token: Uuid,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<Redrive>> {
    sqlx::query_as!(
        Redrive,
        r#"
        with due as materialized (
            select id from redrives
            where status = 'running'
                and (next_at <= $2 or next_at > $2 + interval '1 hour')
                and (lease_token is null or lease_until < $2
                    or lease_until > $2 + interval '3 hours')
            order by next_at
            limit 1
            for update skip locked
        )
        update redrives set lease_token = $1, lease_until = $3
        from due
        where redrives.id = due.id
        returning redrives.id, queue, filter, mark, rate_per_s, stop_at_failure_percent, one_first,
            status as "status: RedriveStatus", stopped_because, matched, is_matched_exact,
            succeeded, failed, held, excused_tried, excused_undone, cursor, next_at, actor, reason,
            request_id, created_at, updated_at, ended_at
        "#,
        token,
        now,
        until,
    )
    .fetch_optional(db)
    .await
}

/// Writes what a page came to, and ends the lease; `false` when somebody else has it meanwhile. What an
/// operator said since then stands.
pub async fn save(
    db: impl PgExecutor<'_>,
    id: Uuid,
    token: Uuid,
    progress: &Progress<'_>,
) -> sqlx::Result<bool> {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let result = sqlx::query!(
        "update redrives set succeeded = succeeded + $3, failed = failed + $4, held = held + $5,
             cursor = coalesce($6, cursor), next_at = $7, lease_token = null, lease_until = null,
             status = case status when 'running' then $8 else status end,
             stopped_because = case when status = 'running' then $9 end,
             ended_at = case when status = 'running' and $8 <> 'running' then $10 else ended_at end,
             updated_at = $10
         where id = $1 and lease_token = $2",
        id,
        token,
        count(progress.tally.succeeded),
        count(progress.tally.failed),
        count(progress.tally.held),
        progress.cursor,
        progress.next_at,
        progress.status as RedriveStatus,
        progress.stopped_because,
        progress.now,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}
