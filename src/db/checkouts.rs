//! The `checkouts` table.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};

use crate::domain::checkout::{Channel, CheckoutId, CheckoutStatus, Locale};
use crate::domain::money::Halalas;
use crate::domain::payment::PaymentStatus;

/// A checkout that is about to begin.
#[derive(Clone, Debug)]
pub struct NewCheckout {
    pub id: CheckoutId,
    pub channel: Channel,
    pub plan_id: String,
    pub amount: Halalas,
    pub currency: &'static str,
    pub subscriber: String,
    pub customer_name: Option<String>,
    pub customer_email: String,
    pub customer_phone: Option<String>,
    pub tenant_id: Option<String>,
    pub lead_id: Option<String>,
    pub locale: Locale,
    pub distinct_id: String,
    pub callback_token: String,
    pub request_id: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// When the provider is asked what became of it, should nobody have heard by then.
    pub look_at: DateTime<Utc>,
}

/// Writes the intent, before anybody else hears of it.
pub async fn insert(db: impl PgExecutor<'_>, new: &NewCheckout) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into checkouts (id, channel, plan_id, amount_halalas, currency, subscriber,
             customer_name, customer_email, customer_phone, tenant_id, lead_id, locale, distinct_id,
             callback_token, status, request_id, created_at, updated_at, expires_at, look_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 'opening', $15, $16, $16,
             $17, $18)",
        new.id as CheckoutId,
        new.channel as Channel,
        new.plan_id,
        new.amount as Halalas,
        new.currency,
        new.subscriber,
        new.customer_name,
        new.customer_email,
        new.customer_phone,
        new.tenant_id,
        new.lead_id,
        new.locale as Locale,
        new.distinct_id,
        new.callback_token,
        new.request_id,
        new.created_at,
        new.expires_at,
        new.look_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Waits until nobody else is counting the checkouts of that address, until the transaction ends.
pub async fn lock_email(tx: &mut PgTransaction<'_>, email: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('checkouts:' || lower($1), 0))",
        email
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// When the `nth` newest checkout was started that visitors began for that address after `since`;
/// those that came to nothing do not count.
pub async fn find_nth_newest(
    tx: &mut PgTransaction<'_>,
    email: &str,
    since: DateTime<Utc>,
    nth: i64,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select created_at from checkouts
         where lower(customer_email) = lower($1) and created_at > $2 and channel = 'pricing'
             and status <> 'refused'
         order by created_at desc
         offset $3::bigint - 1 limit 1",
        email,
        since,
        nth,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// A checkout as the payment that settles it needs to know it.
#[derive(Clone, Debug)]
pub struct Checkout {
    pub id: CheckoutId,
    pub plan_id: String,
    pub amount: Halalas,
    pub currency: String,
    pub subscriber: String,
    pub distinct_id: String,
    pub status: CheckoutStatus,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// Locks the checkout until the transaction ends, so that two payments cannot both settle it.
pub async fn lock(tx: &mut PgTransaction<'_>, id: CheckoutId) -> sqlx::Result<Checkout> {
    sqlx::query_as!(
        Checkout,
        r#"
        select id as "id: CheckoutId", plan_id, amount_halalas as "amount: Halalas", currency,
            subscriber, distinct_id, status as "status: CheckoutStatus", created_at, expires_at
        from checkouts
        where id = $1
        for update
        "#,
        id as CheckoutId,
    )
    .fetch_one(&mut **tx)
    .await
}

/// A checkout as its buyer may see it.
#[derive(Clone, Debug)]
pub struct CheckoutView {
    pub plan_id: String,
    pub amount: Halalas,
    pub currency: String,
    pub subscriber: String,
    pub locale: Locale,
    pub status: CheckoutStatus,
    pub refunded: Halalas,
    pub paid_at: Option<DateTime<Utc>>,
    pub last_attempt_status: Option<String>,
    pub last_attempt_message: Option<String>,
    pub payment_url: Option<String>,
    pub created_at: DateTime<Utc>,
    /// When the provider was last asked about it.
    pub looked_at: Option<DateTime<Utc>>,
}

/// The checkout with that id and the payment page that its buyer was given, if there is one.
pub async fn find(db: impl PgExecutor<'_>, id: CheckoutId) -> sqlx::Result<Option<CheckoutView>> {
    sqlx::query_as!(
        CheckoutView,
        r#"
        select plan_id, amount_halalas as "amount: Halalas", currency, subscriber,
            locale as "locale: Locale", status as "status: CheckoutStatus",
            refunded_halalas as "refunded: Halalas", paid_at, last_attempt_status,
            last_attempt_message, created_at, looked_at,
            (select payment_url from invoices where checkout_id = checkouts.id
             order by is_surplus, created_at limit 1) as payment_url
        from checkouts
        where id = $1
        "#,
        id as CheckoutId,
    )
    .fetch_optional(db)
    .await
}

/// The checkout whose invoices call back with that token.
pub async fn find_by_callback_token(
    db: impl PgExecutor<'_>,
    token: &str,
) -> sqlx::Result<Option<CheckoutId>> {
    sqlx::query_scalar!(
        r#"select id as "id: CheckoutId" from checkouts where callback_token = $1"#,
        token
    )
    .fetch_optional(db)
    .await
}

/// Opens a checkout whose invoice is known, once: `false` when it was opened before. One that has moved
/// on already (its payment was quicker than we were) keeps its status.
pub async fn set_open(
    tx: &mut PgTransaction<'_>,
    id: CheckoutId,
    look_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "update checkouts set opened_at = $3, updated_at = $3, look_at = $2,
             status = case when status in ('opening', 'refused') then 'pending' else status end
         where id = $1 and opened_at is null",
        id as CheckoutId,
        look_at,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends a checkout for which there is no invoice; `false` when it has moved on.
pub async fn set_refused(
    tx: &mut PgTransaction<'_>,
    id: CheckoutId,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "update checkouts set status = 'refused', updated_at = $2, look_at = null
         where id = $1 and status = 'opening' and opened_at is null",
        id as CheckoutId,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Ends a checkout that nobody has paid; one that has moved on stays where it is.
pub async fn close(
    db: impl PgExecutor<'_>,
    id: CheckoutId,
    status: CheckoutStatus,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update checkouts set status = $2, updated_at = $3 where id = $1 and status = 'pending'",
        id as CheckoutId,
        status as CheckoutStatus,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Moves a checkout that the same transaction has locked.
pub async fn set_status(
    tx: &mut PgTransaction<'_>,
    id: CheckoutId,
    status: CheckoutStatus,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update checkouts set status = $2, updated_at = $3 where id = $1",
        id as CheckoutId,
        status as CheckoutStatus,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Marks a checkout that the same transaction has locked as paid.
pub async fn set_paid(
    tx: &mut PgTransaction<'_>,
    id: CheckoutId,
    paid_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update checkouts set status = 'paid', paid_at = $2, updated_at = $3 where id = $1",
        id as CheckoutId,
        paid_at,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Remembers how much of a locked checkout's money was given back in total.
pub async fn set_refunded(
    tx: &mut PgTransaction<'_>,
    id: CheckoutId,
    refunded: Halalas,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update checkouts set refunded_halalas = $2, updated_at = $3 where id = $1",
        id as CheckoutId,
        refunded as Halalas,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Remembers how an attempt to pay a locked checkout ended that began at `began_at`, unless a newer one
/// has ended before.
pub async fn set_last_attempt(
    tx: &mut PgTransaction<'_>,
    id: CheckoutId,
    status: &PaymentStatus,
    message: Option<&str>,
    began_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update checkouts set last_attempt_status = $2, last_attempt_message = $3,
             last_attempt_at = $4, updated_at = $5
         where id = $1 and (last_attempt_at is null or last_attempt_at <= $4)",
        id as CheckoutId,
        status.name(),
        message,
        began_at,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
