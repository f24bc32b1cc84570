//! The `quarantined_webhooks` and `refused_webhooks` tables: the last deliveries that did not carry our
//! secret, and how many there were in each hour.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};
use uuid::Uuid;

/// A delivery that was refused, the presented token blanked.
#[derive(Clone)]
pub struct RefusedDelivery {
    pub id: Uuid,
    /// Whose it is: a number that means nothing after a restart.
    pub sender: i64,
    /// The beginning of the body.
    pub body: Vec<u8>,
    pub body_length: i32,
    pub request_id: String,
    pub received_at: DateTime<Utc>,
}

/// How many rows are kept.
#[derive(Clone, Copy)]
pub struct Kept {
    pub rows: i64,
    pub of_one: i64,
}

/// Keeps a delivery.
pub async fn insert(
    db: impl PgExecutor<'_>,
    source: &str,
    refused: &RefusedDelivery,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into quarantined_webhooks (id, source, sender, body, body_length, request_id, received_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        refused.id,
        source,
        refused.sender,
        refused.body,
        refused.body_length,
        refused.request_id,
        refused.received_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Counts so many more refused deliveries in that hour.
pub async fn count(
    db: impl PgExecutor<'_>,
    source: &str,
    hour: DateTime<Utc>,
    refused: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into refused_webhooks (source, hour, refused) values ($1, $2, $3)
         on conflict (source, hour) do update set refused = refused_webhooks.refused + $3",
        source,
        hour,
        refused,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes all but the newest, in all and of each sender, and what is older than `since`.
pub async fn trim(
    tx: &mut PgTransaction<'_>,
    kept: Kept,
    since: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from quarantined_webhooks where received_at < $3 or id in (
             select id from (
                 select id, row_number() over (order by received_at desc, id desc) as nth,
                     row_number() over (
                         partition by sender order by received_at desc, id desc
                     ) as nth_of_one
                 from quarantined_webhooks
             ) ranked
             where nth > $1 or nth_of_one > $2
         )",
        kept.rows,
        kept.of_one,
        since,
    )
    .execute(&mut **tx)
    .await?;
    sqlx::query!("delete from refused_webhooks where hour < $1", since).execute(&mut **tx).await?;
    Ok(())
}
