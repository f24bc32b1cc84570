//! The `payments` and `payment_effects` tables.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};

use crate::domain::checkout::CheckoutId;
use crate::domain::money::Halalas;
use crate::domain::payment::{Fetched, PaymentStatus, Recorded, Standing};

/// The payment as it was recorded, locked until the transaction ends. Where it was not recorded yet, the
/// lock is on its name: whoever comes second sees what the first one made of it. Others may refer to
/// it meanwhile: who rests a subscription on it holds what the owner of this lock waits for.
pub async fn lock(tx: &mut PgTransaction<'_>, id: &str) -> sqlx::Result<Option<Recorded>> {
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 1))", id)
        .execute(&mut **tx)
        .await?;
    let row = sqlx::query!(
        r#"
        select status, standing as "standing: Standing", refunded_halalas as "refunded: Halalas",
            captured_halalas as "captured: Halalas", provider_updated_at,
            array(select effect from payment_effects where payment_id = $1) as "done!"
        from payments
        where id = $1
        for no key update
        "#,
        id,
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map(|row| Recorded {
        status: PaymentStatus::from_name(&row.status),
        refunded: row.refunded,
        captured: row.captured,
        updated_at: row.provider_updated_at,
        standing: row.standing,
        done: row.done.into_iter().collect(),
    }))
}

/// The checkout that the payment was settled for, if it ever was for one.
pub async fn find_checkout(db: impl PgExecutor<'_>, id: &str) -> sqlx::Result<Option<CheckoutId>> {
    let found = sqlx::query_scalar!(
        r#"select checkout_id as "checkout_id: CheckoutId" from payments where id = $1"#,
        id
    );
    found.fetch_optional(db).await.map(Option::flatten)
}

/// What became of the other payments of a checkout.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    /// One of them has paid it, whatever was given back since.
    pub has_paid: bool,
    /// One of them is held for a person.
    pub is_held: bool,
}

/// What became of the other payments of the checkout than `id`.
pub async fn get_others(
    tx: &mut PgTransaction<'_>,
    checkout: CheckoutId,
    id: &str,
) -> sqlx::Result<Others> {
    sqlx::query_as!(
        Others,
        r#"
        select coalesce(bool_or(standing in ('granted', 'reversed')), false) as "has_paid!",
            coalesce(bool_or(standing = 'held'), false) as "is_held!"
        from payments
        where checkout_id = $1 and id <> $2
        "#,
        checkout as CheckoutId,
        id,
    )
    .fetch_one(&mut **tx)
    .await
}

/// A payment that was granted and of which nothing was taken back.
#[derive(Clone, Debug)]
pub struct Grant {
    pub payment_id: String,
    pub plan_id: String,
    pub paid_at: DateTime<Utc>,
}

/// The payments that a subscriber's subscription rests on, in the order in which they were granted. They
/// stay so while the subscription is locked.
pub async fn list_grants(tx: &mut PgTransaction<'_>, subscriber: &str) -> sqlx::Result<Vec<Grant>> {
    sqlx::query_as!(
        Grant,
        r#"
        select payments.id as payment_id, checkouts.plan_id,
            coalesce(checkouts.paid_at, payment_effects.happened_at) as "paid_at!"
        from checkouts
        join payments on payments.checkout_id = checkouts.id
        join payment_effects on payment_effects.payment_id = payments.id and effect = 'granted'
        where subscriber = $1 and standing = 'granted'
        order by happened_at, checkouts.paid_at, payments.id
        "#,
        subscriber,
    )
    .fetch_all(&mut **tx)
    .await
}

/// Records what a payment is now.
pub async fn upsert(
    tx: &mut PgTransaction<'_>,
    id: &str,
    invoice_id: Option<&str>,
    checkout: Option<CheckoutId>,
    fetched: &Fetched,
    record: &Recorded,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into payments (id, checkout_id, invoice_id, status, standing, amount_halalas, currency,
             refunded_halalas, captured_halalas, provider_updated_at, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
         on conflict (id) do update set checkout_id = $2, invoice_id = $3, status = $4, standing = $5,
             amount_halalas = $6, currency = $7, refunded_halalas = $8, captured_halalas = $9,
             provider_updated_at = $10, updated_at = $11",
        id,
        checkout as Option<CheckoutId>,
        invoice_id,
        record.status.name(),
        record.standing as Standing,
        fetched.amount as Halalas,
        fetched.currency,
        record.refunded as Halalas,
        record.captured as Halalas,
        record.updated_at,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Claims an effect of a payment; `false` when it has happened already.
pub async fn claim_effect(
    db: impl PgExecutor<'_>,
    payment: &str,
    effect: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "insert into payment_effects (payment_id, effect, happened_at) values ($1, $2, $3)
         on conflict (payment_id, effect) do nothing",
        payment,
        effect,
        now,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use super::*;

    #[sqlx::test(migrations = "./migrations")]
    async fn a_payment_that_nobody_has_recorded_is_locked_all_the_same(db: PgPool) {
        let mut first = db.begin().await.unwrap();
        assert_eq!(lock(&mut first, "a-payment").await.unwrap(), None);
        let mut second = db.begin().await.unwrap();
        sqlx::query("set local lock_timeout = '50ms'").execute(&mut *second).await.unwrap();
        assert_eq!(lock(&mut second, "another-payment").await.unwrap(), None);
        let refused = lock(&mut second, "a-payment").await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "55P03");
    }
}
