//! The `alerts` table: what whoever is on call was told, and is to be told.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::domain::alert::Cause;

/// Whether somebody is there to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    Somebody,
    Nobody,
}

/// Raises the alerts of those causes that have none that is open; tells which they were.
pub async fn raise(
    db: impl PgExecutor<'_>,
    causes: &[Cause],
    audience: Audience,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<(String, String)>> {
    fn column<'a>(causes: &'a [Cause], of: impl Fn(&'a Cause) -> &'a str) -> Vec<&'a str> {
        causes.iter().map(of).collect()
    }
    let ids: Vec<_> = causes.iter().map(|_| Uuid::now_v7()).collect();
    let rows = sqlx::query!(
        "insert into alerts (id, kind, subject, message_en, message_ar, next_command, raised_at,
             next_attempt_at)
         select id, kind, subject, message_en, message_ar, next_command, $7,
             case when $8 then $7::timestamptz end
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
             as new (id, kind, subject, message_en, message_ar, next_command)
         -- In one order everywhere, so that two instances do not wait for each other.
         order by kind, subject
         on conflict (kind, subject) where cleared_at is null do nothing
         returning kind, subject",
        &ids,
        &column(causes, |cause| cause.kind.name()) as &[&str],
        &column(causes, |cause| &cause.subject) as &[&str],
        &column(causes, |cause| &cause.message_en) as &[&str],
        &column(causes, |cause| &cause.message_ar) as &[&str],
        &column(causes, |cause| &cause.next_command) as &[&str],
        now,
        audience == Audience::Somebody,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.subject)).collect())
}

/// Clears the open alerts whose causes are not among those that last, nor of a kind of which nothing is
/// known; tells how many they were.
pub async fn clear_others(
    db: impl PgExecutor<'_>,
    lasting: &[Cause],
    unknown: &[&str],
    audience: Audience,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let kinds: Vec<_> = lasting.iter().map(|cause| cause.kind.name()).collect();
    let subjects: Vec<_> = lasting.iter().map(|cause| cause.subject.as_str()).collect();
    let result = sqlx::query!(
        "update alerts set cleared_at = $3, attempts = 0, next_attempt_at = case when $4 then $3::timestamptz end
         where cleared_at is null and kind <> all($5) and not exists (
             select from unnest($1::text[], $2::text[]) as lasting (kind, subject)
             where lasting.kind = alerts.kind and lasting.subject = alerts.subject
         )",
        &kinds as &[&str],
        &subjects as &[&str],
        now,
        audience == Audience::Somebody,
        unknown as &[&str],
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}

/// How many alerts are open.
pub async fn count_open(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from alerts where cleared_at is null"#)
        .fetch_one(db)
        .await
}

/// Something that is to be told, in the hands of one teller until its lease ends.
#[derive(Clone, Debug)]
pub struct DueAlert {
    pub id: Uuid,
    pub kind: String,
    pub subject: String,
    pub message_en: String,
    pub message_ar: String,
    pub next_command: String,
    pub raised_at: DateTime<Utc>,
    pub cleared_at: Option<DateTime<Utc>>,
    pub attempts: i32,
}

/// Takes up to `limit` alerts that are to be told, longest due first, for the holder of `token`. A lease
/// that ends makes them due again.
pub async fn claim(
    db: impl PgExecutor<'_>,
    token: Uuid,
    now: DateTime<Utc>,
    lease_until: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<DueAlert>> {
    sqlx::query_as!(
        DueAlert,
        "with due as (
             select id from alerts where next_attempt_at <= $2
             order by next_attempt_at, id
             limit $4
             for update skip locked
         )
         update alerts set lease_token = $1, next_attempt_at = $3
         from due where alerts.id = due.id
         returning alerts.id, kind, subject, message_en, message_ar, next_command, raised_at, cleared_at,
             attempts",
        token,
        now,
        lease_until,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Notes that these were told as they were claimed. What was cleared meanwhile is to be told once more.
pub async fn set_told(
    db: impl PgExecutor<'_>,
    told: &[DueAlert],
    token: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let ids: Vec<_> = told.iter().map(|alert| alert.id).collect();
    let was_cleared: Vec<_> = told.iter().map(|alert| alert.cleared_at.is_some()).collect();
    sqlx::query!(
        "update alerts set told = case when was_cleared then 'cleared' else 'raised' end, told_at = $4::timestamptz,
             attempts = 0, last_error = null, lease_token = null,
             next_attempt_at = case when was_cleared <> (cleared_at is not null) then $4::timestamptz end
         from unnest($1::uuid[], $2::bool[]) as told_ones (told_id, was_cleared)
         where id = told_id and lease_token = $3",
        &ids,
        &was_cleared,
        token,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that these could not be told, and when they are tried again.
pub async fn put_off(
    db: impl PgExecutor<'_>,
    ids: &[Uuid],
    token: Uuid,
    error: &str,
    next_attempt_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update alerts set attempts = attempts + 1, last_error = $3, lease_token = null,
             next_attempt_at = $4
         where id = any($1) and lease_token = $2",
        ids,
        token,
        error,
        next_attempt_at,
    )
    .execute(db)
    .await?;
    Ok(())
}
