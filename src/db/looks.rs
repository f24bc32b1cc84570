//! The part of the `checkouts` table that says when the provider is to be asked about a checkout, and
//! who is asking.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::domain::checkout::{CheckoutId, CheckoutStatus};
use crate::domain::money::Halalas;

/// A checkout that the holder of a token looks after, until the lease ends.
#[derive(Clone, Debug)]
pub struct ClaimedLook {
    pub id: CheckoutId,
    pub plan_id: String,
    pub amount: Halalas,
    pub currency: String,
    pub distinct_id: String,
    pub request_id: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// When its invoice became known; absent while nobody knows whether there is one.
    pub opened_at: Option<DateTime<Utc>>,
    /// How often in a row the provider gave no answer.
    pub failures: i32,
}

/// Takes the checkout that is due for longest, for the holder of `token`; others look past it. It is
/// due again when the lease ends, should the holder die.
pub async fn claim(
    db: impl PgExecutor<'_>,
    token: Uuid,
    now: DateTime<Utc>,
    lease_until: DateTime<Utc>,
) -> sqlx::Result<Option<ClaimedLook>> {
    sqlx::query_as!(
        ClaimedLook,
        r#"
        with due as (
            select id from checkouts
            where look_at <= $2
            order by look_at
            limit 1
            for update skip locked
        )
        update checkouts set look_token = $1, looked_at = $2, look_at = $3
        from due where checkouts.id = due.id
        returning checkouts.id as "id: CheckoutId", plan_id, amount_halalas as "amount: Halalas",
            currency, distinct_id, request_id, created_at, expires_at, opened_at,
            look_failures as failures
        "#,
        token,
        now,
        lease_until,
    )
    .fetch_optional(db)
    .await
}

/// Where a checkout stands that the holder of `token` looks after; none if somebody else does now.
/// Locked until the transaction ends.
pub async fn lock(
    db: impl PgExecutor<'_>,
    id: CheckoutId,
    token: Uuid,
) -> sqlx::Result<Option<CheckoutStatus>> {
    sqlx::query_scalar!(
        r#"
        select status as "status: CheckoutStatus" from checkouts
        where id = $1 and look_token = $2
        for update
        "#,
        id as CheckoutId,
        token,
    )
    .fetch_optional(db)
    .await
}

/// Says when the next look is due. A prompt that came since the claim is not forgotten.
pub async fn finish(
    db: impl PgExecutor<'_>,
    id: CheckoutId,
    token: Uuid,
    lease_until: DateTime<Utc>,
    failures: i32,
    look_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update checkouts set look_token = null, look_failures = $4,
             look_at = case when look_at = $3 then $5 else look_at end
         where id = $1 and look_token = $2",
        id as CheckoutId,
        token,
        lease_until,
        failures,
        look_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Brings the next look at a checkout forward to `now`, or to when `pause` has passed since the last.
pub async fn prompt(
    db: impl PgExecutor<'_>,
    id: CheckoutId,
    pause: TimeDelta,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update checkouts set look_at = least(look_at, greatest($3, looked_at + $2))
         where id = $1 and (look_at is null or look_at > $3)",
        id as CheckoutId,
        pause as _,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}
