//! The `subscriptions` table.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};

use crate::domain::subscription::{GRACE, Subscription, SubscriptionStatus};

/// A subscription and the payment that it was last granted for.
#[derive(Clone, Debug)]
pub struct Held {
    pub subscription: Subscription,
    pub payment_id: String,
}

/// The subscriber's subscription, locked until the transaction ends. Where there is none yet, the
/// lock is on the subscriber's name, so that two first payments cannot both begin one.
pub async fn lock(tx: &mut PgTransaction<'_>, subscriber: &str) -> sqlx::Result<Option<Held>> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", subscriber)
        .execute(&mut **tx)
        .await?;
    let row = sqlx::query!(
        r#"
        select plan_id, status as "status: SubscriptionStatus", current_period_start,
            current_period_end, payment_id
        from subscriptions
        where subscriber = $1
        for update
        "#,
        subscriber,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| Held {
        subscription: Subscription {
            plan_id: row.plan_id,
            status: row.status,
            current_period_start: row.current_period_start,
            current_period_end: row.current_period_end,
        },
        payment_id: row.payment_id,
    }))
}

/// Stores what a payment made of a subscription.
pub async fn upsert(
    tx: &mut PgTransaction<'_>,
    subscriber: &str,
    subscription: &Subscription,
    payment: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into subscriptions (subscriber, plan_id, status, current_period_start,
             current_period_end, payment_id, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $7)
         on conflict (subscriber) do update set plan_id = $2, status = $3, current_period_start = $4,
             current_period_end = $5, payment_id = $6, updated_at = $7",
        subscriber,
        subscription.plan_id,
        subscription.status as SubscriptionStatus,
        subscription.current_period_start,
        subscription.current_period_end,
        payment,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The subscriber's subscription, if there is one.
pub async fn find(db: impl PgExecutor<'_>, subscriber: &str) -> sqlx::Result<Option<Subscription>> {
    sqlx::query_as!(
        Subscription,
        r#"
        select plan_id, status as "status: SubscriptionStatus", current_period_start, current_period_end
        from subscriptions
        where subscriber = $1
        "#,
        subscriber,
    )
    .fetch_optional(db)
    .await
}

/// Locks up to `limit` subscriptions that were written down as better than they are at `now`; others
/// look past them.
pub async fn lock_overdue(
    tx: &mut PgTransaction<'_>,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<(String, Held)>> {
    let rows = sqlx::query!(
        r#"
        select subscriber, plan_id, status as "status: SubscriptionStatus", current_period_start,
            current_period_end, payment_id
        from subscriptions
        where status in ('active', 'past_due')
            and current_period_end <= case status when 'active' then $1::timestamptz else $2::timestamptz end
        order by current_period_end
        limit $3
        for update skip locked
        "#,
        now,
        now - GRACE,
        limit,
    )
    .fetch_all(&mut **tx)
    .await?;
    let overdue = rows.into_iter().map(|row| {
        let subscription = Subscription {
            plan_id: row.plan_id,
            status: row.status,
            current_period_start: row.current_period_start,
            current_period_end: row.current_period_end,
        };
        (row.subscriber, Held { subscription, payment_id: row.payment_id })
    });
    Ok(overdue.collect())
}

/// Writes down where a locked subscription stands.
pub async fn set_status(
    tx: &mut PgTransaction<'_>,
    subscriber: &str,
    status: SubscriptionStatus,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update subscriptions set status = $2, updated_at = $3 where subscriber = $1",
        subscriber,
        status as SubscriptionStatus,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
