//! The `outbox` table: what analytics is still to be told.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, PgTransaction};
use uuid::Uuid;

use crate::domain::funnel::{Analytics, Occurrence};

/// Writes what happened, in the transaction that made it happen, once per `uuid`. Where analytics is switched off the
/// row is kept as `skipped` and never sent.
pub async fn insert(
    db: &mut PgConnection,
    occurrence: &Occurrence,
    analytics: Analytics,
    request_id: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into outbox (uuid, name, distinct_id, happened_at, properties, status, next_attempt_at,
             request_id, settled_at)
         values ($1, $2, $3, $4, $5, case when $6 then 'pending' else 'skipped' end, $4, $7,
             case when not $6 then $4::timestamptz end)
         on conflict on constraint outbox_uuid_once do nothing",
        occurrence.uuid,
        occurrence.event.name(),
        occurrence.distinct_id,
        occurrence.at,
        Json(&occurrence.properties) as _,
        analytics == Analytics::On,
        request_id,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A row in the hands of one sender until its lease ends.
#[derive(Clone, Debug)]
pub struct ClaimedRow {
    pub id: i64,
    pub uuid: Uuid,
    pub name: String,
    pub distinct_id: String,
    pub happened_at: DateTime<Utc>,
    pub properties: Json<Value>,
}

/// Takes up to `limit` due rows, oldest first, for the holder of `token`.
pub async fn claim(
    db: impl PgExecutor<'_>,
    token: Uuid,
    now: DateTime<Utc>,
    lease_until: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<ClaimedRow>> {
    sqlx::query_as!(
        ClaimedRow,
        r#"
        with due as (
            select id from outbox
            where status = 'pending' and next_attempt_at <= $2
                and (lease_until is null or lease_until < $2)
            order by next_attempt_at, id
            limit $4
            for update skip locked
        )
        update outbox set lease_token = $1, lease_until = $3
        from due where outbox.id = due.id
        returning outbox.id, uuid, name, distinct_id, happened_at, properties as "properties: Json<Value>"
        "#,
        token,
        now,
        lease_until,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Marks rows of the holder of `token` as sent.
pub async fn set_sent(
    db: impl PgExecutor<'_>,
    ids: &[i64],
    token: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox set status = 'sent', settled_at = $3, attempts = attempts + 1, last_error = null,
             lease_token = null, lease_until = null
         where id = any($1) and lease_token = $2",
        ids,
        token,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Marks a row of the holder of `token` as one that analytics itself will not have, whatever became of
/// a letter of an earlier refusal.
pub async fn set_refused(
    db: impl PgExecutor<'_>,
    id: i64,
    token: Uuid,
    error: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox set status = 'refused', settled_at = $4, attempts = attempts + 1, last_error = $3,
             lease_token = null, lease_until = null, handed_over_at = null, shelved_at = null
         where id = $1 and lease_token = $2",
        id,
        token,
        error,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Gives rows back, to be sent at `next_attempt_at`.
pub async fn release(
    db: impl PgExecutor<'_>,
    ids: &[i64],
    token: Uuid,
    error: &str,
    next_attempt_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update outbox set next_attempt_at = $4, last_error = $3, lease_token = null, lease_until = null
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

/// How many rows wait to be sent, and since when the oldest does.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    pub waiting: i64,
    pub oldest_at: Option<DateTime<Utc>>,
}

/// What is not sent yet.
pub async fn backlog(db: impl PgExecutor<'_>) -> sqlx::Result<Backlog> {
    sqlx::query_as!(
        Backlog,
        r#"
        select count(*) as "waiting!", min(happened_at) as oldest_at
        from outbox
        where status = 'pending'
        "#
    )
    .fetch_one(db)
    .await
}

/// A row that analytics refused, or no longer does.
#[derive(Clone, Debug)]
pub struct RefusedRow {
    pub uuid: Uuid,
    pub name: String,
    pub distinct_id: String,
    pub happened_at: DateTime<Utc>,
    pub properties: Json<Value>,
    pub is_refused: bool,
}

/// The row of that event, if there is one.
pub async fn find(db: impl PgExecutor<'_>, uuid: Uuid) -> sqlx::Result<Option<RefusedRow>> {
    sqlx::query_as!(
        RefusedRow,
        r#"
        select uuid, name, distinct_id, happened_at, properties as "properties: Json<Value>",
            status = 'refused' as "is_refused!"
        from outbox where uuid = $1
        "#,
        uuid,
    )
    .fetch_optional(db)
    .await
}

/// Marks a refused row as sent; `false` when it is not refused any more.
pub async fn set_sent_after_all(
    db: impl PgExecutor<'_>,
    uuid: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "update outbox set status = 'sent', settled_at = $2, attempts = attempts + 1, last_error = null
         where uuid = $1 and status = 'refused'",
        uuid,
        now,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// A row as analytics would see it.
#[derive(Clone, Debug)]
pub struct WrittenRow {
    pub name: String,
    pub properties: Json<Value>,
}

/// The last id that anybody can see; whatever this transaction writes gets a later one.
pub async fn last_id(tx: &mut PgTransaction<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select coalesce(max(id), 0) as "id!" from outbox"#)
        .fetch_one(&mut **tx)
        .await
}

/// What this transaction itself has written behind `last_id`, in its order.
pub async fn list_of_transaction(
    tx: &mut PgTransaction<'_>,
    last_id: i64,
) -> sqlx::Result<Vec<WrittenRow>> {
    sqlx::query_as!(
        WrittenRow,
        r#"
        select name, properties as "properties: Json<Value>" from outbox
        where id > $1 and xmin = pg_current_xact_id()::xid
        order by id
        "#,
        last_id,
    )
    .fetch_all(&mut **tx)
    .await
}
