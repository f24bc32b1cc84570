//! The `quarantined_webhooks` table: the last deliveries that did not carry our secret.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};
use uuid::Uuid;

/// A delivery that was refused, the presented token blanked.
#[derive(Clone)]
pub struct RefusedDelivery {
    pub id: Uuid,
    /// The beginning of the body.
    pub body: Vec<u8>,
    pub body_length: i32,
    pub request_id: String,
    pub received_at: DateTime<Utc>,
}

/// Keeps a delivery.
pub async fn insert(
    db: impl PgExecutor<'_>,
    source: &str,
    refused: &RefusedDelivery,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into quarantined_webhooks (id, source, body, body_length, request_id, received_at)
         values ($1, $2, $3, $4, $5, $6)",
        refused.id,
        source,
        refused.body,
        refused.body_length,
        refused.request_id,
        refused.received_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes all but the newest `kept`, and what is older than `since`.
pub async fn trim(tx: &mut PgTransaction<'_>, kept: i64, since: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from quarantined_webhooks where received_at < $2 or id in (
             select id from quarantined_webhooks order by received_at desc, id desc offset $1
         )",
        kept,
        since,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
