//! The `idempotency_keys` table: requests that may be repeated without being done twice.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgTransaction};
use uuid::Uuid;

/// A key that a request wants for itself.
#[derive(Clone, Copy, Debug)]
pub struct NewKey<'a> {
    pub scope: &'a str,
    pub key_digest: &'a [u8],
    pub fingerprint: &'a [u8],
    pub subject: Uuid,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// Takes the key; `false` when another request has it. Waits for one that is just taking it. A key
/// that has expired is nobody's.
pub async fn claim(tx: &mut PgTransaction<'_>, new: NewKey<'_>) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "insert into idempotency_keys as held
             (scope, key_digest, fingerprint, subject, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (scope, key_digest) do update
         set fingerprint = excluded.fingerprint, subject = excluded.subject, answer = null,
             created_at = excluded.created_at, expires_at = excluded.expires_at
         where held.expires_at <= excluded.created_at",
        new.scope,
        new.key_digest,
        new.fingerprint,
        new.subject,
        new.created_at,
        new.expires_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// A key as its holder left it.
#[derive(Clone, Debug)]
pub struct HeldKey {
    pub fingerprint: Vec<u8>,
    /// Absent while the outcome is not known.
    pub answer: Option<Json<Value>>,
    pub created_at: DateTime<Utc>,
}

/// The key, if somebody has it.
pub async fn find(
    db: impl PgExecutor<'_>,
    scope: &str,
    key_digest: &[u8],
) -> sqlx::Result<Option<HeldKey>> {
    sqlx::query_as!(
        HeldKey,
        r#"
        select fingerprint, answer as "answer: Json<Value>", created_at
        from idempotency_keys
        where scope = $1 and key_digest = $2
        "#,
        scope,
        key_digest,
    )
    .fetch_optional(db)
    .await
}

/// Stores the answer of whatever request is about `subject`, in the transaction that settles it.
pub async fn complete(
    tx: &mut PgTransaction<'_>,
    subject: Uuid,
    answer: &(impl Serialize + Sync),
) -> sqlx::Result<()> {
    sqlx::query!(
        "update idempotency_keys set answer = $2 where subject = $1 and answer is null",
        subject,
        Json(answer) as _,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Says until when the key of whatever request is about `subject` is kept, in the transaction that
/// stores its answer.
pub async fn set_expiry(
    tx: &mut PgTransaction<'_>,
    subject: Uuid,
    expires_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update idempotency_keys set expires_at = $2 where subject = $1",
        subject,
        expires_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Gives the key back, so that the same request may be made again, in the transaction that ends what
/// it was about.
pub async fn release(tx: &mut PgTransaction<'_>, subject: Uuid) -> sqlx::Result<()> {
    sqlx::query!("delete from idempotency_keys where subject = $1 and answer is null", subject)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Forgets up to `limit` keys that have expired; tells how many.
pub async fn delete_expired(
    db: impl PgExecutor<'_>,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "delete from idempotency_keys as held
         using (
             select scope, key_digest from idempotency_keys
             where expires_at <= $1
             order by expires_at
             limit $2
             for update skip locked
         ) as expired
         where held.scope = expired.scope and held.key_digest = expired.key_digest",
        now,
        limit,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected())
}
