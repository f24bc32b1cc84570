//! The `reviews` table: what needs a person.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::domain::checkout::CheckoutId;

/// A difference that a person must look at.
#[derive(Clone, Debug)]
pub struct NewReview<'a> {
    pub kind: &'static str,
    pub payment_id: Option<&'a str>,
    pub checkout_id: Option<CheckoutId>,
    pub event_id: Option<Uuid>,
    pub difference: &'a str,
    pub opened_at: DateTime<Utc>,
}

/// Opens a review; `false` when the same difference was asked about before.
pub async fn insert(db: impl PgExecutor<'_>, new: &NewReview<'_>) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "insert into reviews (id, kind, payment_id, checkout_id, event_id, difference, opened_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict on constraint reviews_once do nothing",
        Uuid::now_v7(),
        new.kind,
        new.payment_id,
        new.checkout_id as Option<CheckoutId>,
        new.event_id,
        new.difference,
        new.opened_at,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// How many questions nobody has answered yet.
pub async fn count_open(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from reviews where state = 'open'"#)
        .fetch_one(db)
        .await
}
