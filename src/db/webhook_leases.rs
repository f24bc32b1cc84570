//! The leases of the `webhook_events` table: who has an event in hand, and what became of it.
//!
//! An event that is `received` belongs to the workers, one that is `failed` to the dead-letter queue.
//! Both are taken with the same lease and ended by the same statements.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};
use uuid::Uuid;

/// The right to settle what was claimed with it, until it ends.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Random; nobody else can finish or give back what was claimed with it.
    pub token: Uuid,
    /// One id per start of a process.
    pub owner: Uuid,
    pub taken_at: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// An event in the hands of one worker until its lease ends.
#[derive(Clone, Debug)]
pub struct ClaimedEvent {
    pub id: Uuid,
    pub payment_id: Option<String>,
    pub body: Vec<u8>,
    pub attempts: i32,
    /// How many processes ended with it in hand since it was last given back.
    pub deaths: i32,
    pub request_id: String,
}

/// Takes the event that is due for longest, and with it up to `siblings` others of the same payment;
/// others look past them. What failed before comes alone, so that it spoils nobody else's, and what a
/// process may have died of is left to [`claim_suspect`]. No event waits for as long as a quarter of an
/// hour: one that seems to, came while somebody's clock was ahead, and is due when no other is.
pub async fn claim(
    db: impl PgExecutor<'_>,
    lease: &Lease,
    siblings: i64,
) -> sqlx::Result<Vec<ClaimedEvent>> {
    sqlx::query_as!(
        ClaimedEvent,
        "with due as materialized (
             select id, payment_id, attempts from webhook_events
             where status = 'received' and next_attempt_at <= $3 and deaths = 0
                 and (lease_token is null or (lease_owner = $2 and lease_until < $3))
             order by next_attempt_at
             limit 1
             for update skip locked
         ), misdated as materialized (
             select id, payment_id, attempts from webhook_events
             where status = 'received' and next_attempt_at > $3 + interval '15 minutes'
                 and deaths = 0 and lease_token is null
             order by next_attempt_at
             limit 1
             for update skip locked
         ), first as materialized (
             select * from due union all (select * from misdated where not exists (select from due))
         ), others as materialized (
             select event.id from webhook_events event
             join first on event.payment_id = first.payment_id and event.id <> first.id
             where event.status = 'received' and event.next_attempt_at <= $3 and event.deaths = 0
                 and event.lease_token is null and event.attempts = 0 and first.attempts = 0
             order by event.received_at
             limit $5
             for update of event skip locked
         )
         update webhook_events set lease_token = $1, lease_owner = $2, lease_until = $4
         from (select id from first union all select id from others) due
         where webhook_events.id = due.id
         returning webhook_events.id, payment_id, body, attempts, deaths, request_id",
        lease.token,
        lease.owner,
        lease.taken_at,
        lease.until,
        siblings,
    )
    .fetch_all(db)
    .await
}

/// Takes one event that must be settled alone: a process ended with it in hand. If that was another
/// process than the claimant's, one more death is counted. A lease is an hour at most: one that seems to
/// be longer was taken by somebody whose clock was ahead.
pub async fn claim_suspect(
    db: impl PgExecutor<'_>,
    lease: &Lease,
) -> sqlx::Result<Option<ClaimedEvent>> {
    sqlx::query_as!(
        ClaimedEvent,
        "with suspect as materialized (
             select id, (lease_token is not null and lease_owner is distinct from $2)::int as death
             from webhook_events
             where status = 'received' and (deaths > 0 or lease_token is not null)
                 and (deaths > 0 or lease_owner is distinct from $2)
                 and (next_attempt_at <= $3 or next_attempt_at > $3 + interval '15 minutes')
                 and (lease_until is null or lease_until < $3
                     or lease_until > $3 + interval '2 hours')
             order by next_attempt_at
             limit 1
             for update skip locked
         )
         update webhook_events set lease_token = $1, lease_owner = $2, lease_until = $4,
             deaths = deaths + suspect.death
         from suspect
         where webhook_events.id = suspect.id
         returning webhook_events.id, payment_id, body, attempts, deaths, request_id",
        lease.token,
        lease.owner,
        lease.taken_at,
        lease.until,
    )
    .fetch_optional(db)
    .await
}

/// Whether an event waits for [`claim_suspect`].
pub async fn has_suspect(
    db: impl PgExecutor<'_>,
    owner: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from webhook_events
            where status = 'received' and (deaths > 0 or lease_token is not null)
                and (deaths > 0 or lease_owner is distinct from $1)
                and (next_attempt_at <= $2 or next_attempt_at > $2 + interval '15 minutes')
                and (lease_until is null or lease_until < $2
                    or lease_until > $2 + interval '2 hours')
        ) as "exists!"
        "#,
        owner,
        now,
    )
    .fetch_one(db)
    .await
}

/// Takes that one event, due or not, also when it is `failed`; nothing if it is in somebody's hands
/// or has ended.
pub async fn claim_one(
    db: impl PgExecutor<'_>,
    id: Uuid,
    lease: &Lease,
) -> sqlx::Result<Option<ClaimedEvent>> {
    sqlx::query_as!(
        ClaimedEvent,
        "update webhook_events set lease_token = $2, lease_owner = $3, lease_until = $5
         where id = $1 and status in ('received', 'failed')
             and (lease_until is null or lease_until < $4
                 or lease_until > $4 + interval '2 hours')
         returning id, payment_id, body, attempts, deaths, request_id",
        id,
        lease.token,
        lease.owner,
        lease.taken_at,
        lease.until,
    )
    .fetch_optional(db)
    .await
}

/// That event as whoever claims it would see it; it is nobody's.
pub async fn get(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<ClaimedEvent> {
    sqlx::query_as!(
        ClaimedEvent,
        "select id, payment_id, body, attempts, deaths, request_id from webhook_events where id = $1",
        id,
    )
    .fetch_one(db)
    .await
}

/// Whether nothing is left to be done about the event.
pub async fn has_ended(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select status in ('done', 'ignored') as "has_ended!" from webhook_events where id = $1"#,
        id
    )
    .fetch_one(db)
    .await
}

/// Ends events that the holder of `token` has settled; `false` when one of them is no longer theirs,
/// and then nothing of the transaction may be kept.
pub async fn finish(
    tx: &mut PgTransaction<'_>,
    ids: &[Uuid],
    token: Uuid,
    outcome: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "update webhook_events set status = 'done', outcome = $3, done_at = $4, lease_token = null,
             lease_owner = null, lease_until = null, deaths = 0, last_error = null, error_class = null
         where id = any($1) and lease_token = $2 and status in ('received', 'failed')",
        ids,
        token,
        outcome,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(usize::try_from(result.rows_affected()).is_ok_and(|ended| ended == ids.len()))
}

/// Gives events back whose settling was nobody's attempt, to be taken up at `next_attempt_at`.
pub async fn give_back(
    db: impl PgExecutor<'_>,
    ids: &[Uuid],
    token: Uuid,
    error_class: &str,
    next_attempt_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_events set last_error = $3, error_class = $3, next_attempt_at = $4,
             lease_token = null, lease_owner = null, lease_until = null, deaths = 0
         where id = any($1) and lease_token = $2",
        ids,
        token,
        error_class,
        next_attempt_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Why an event was not settled.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The kind of failure, for programs.
    pub class: &'a str,
    /// The failure in our own words.
    pub text: &'a str,
    /// How many attempts failed by now.
    pub attempts: i32,
}

/// Gives an event back after a failed attempt. A `failed` one stays so: its queue has the next word.
pub async fn release(
    db: impl PgExecutor<'_>,
    id: Uuid,
    token: Uuid,
    failure: Failure<'_>,
    next_attempt_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update webhook_events set attempts = $3, error_class = $4, last_error = $5,
             next_attempt_at = $6, lease_token = null, lease_owner = null, lease_until = null,
             deaths = 0
         where id = $1 and lease_token = $2",
        id,
        token,
        failure.attempts,
        failure.class,
        failure.text,
        next_attempt_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives an event up: from now on it belongs to the dead-letter queue, whatever became of a letter of
/// an earlier failure. `false` when the lease is no longer theirs who held `token`.
pub async fn fail(
    db: impl PgExecutor<'_>,
    id: Uuid,
    token: Uuid,
    failure: Failure<'_>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "update webhook_events set status = 'failed', attempts = $3, error_class = $4,
             last_error = $5, lease_token = null, lease_owner = null, lease_until = null, deaths = 0,
             handed_over_at = case when status = 'failed' then handed_over_at end,
             shelved_at = case when status = 'failed' then shelved_at end
         where id = $1 and lease_token = $2",
        id,
        token,
        failure.attempts,
        failure.class,
        failure.text,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    /// The condition of a function's statement, with these names for who asks and when.
    fn condition(function: &str, [owner, now]: [&str; 2], text: &str) -> String {
        let (_, text) = text.split_once(function).unwrap();
        let (_, text) = text.split_once("where ").unwrap();
        let (condition, _) = text.split_once("'2 hours')").unwrap();
        let words: Vec<_> = condition.split_whitespace().collect();
        words.join(" ").replace(owner, "owner").replace(now, "now")
    }

    /// What must be settled alone is looked for before the others are asked to step aside: were it another
    /// thing than what is taken then, they would step aside for ever.
    #[test]
    fn what_is_looked_for_is_what_is_taken() {
        let text = include_str!("webhook_leases.rs");
        let taken = condition("fn claim_suspect(", ["$2", "$3"], text);
        assert_eq!(taken, condition("fn has_suspect(", ["$1", "$2"], text));
        assert!(taken.contains("status = 'received'") && taken.contains("deaths > 0"), "{taken}");
    }
}
