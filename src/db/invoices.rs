//! The `invoices` table.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};
use uuid::Uuid;

use crate::domain::checkout::CheckoutId;

/// Stores a payment page of a checkout; one that is stored already stays as it is.
pub async fn insert(
    db: impl PgExecutor<'_>,
    id: &str,
    checkout: CheckoutId,
    payment_url: &str,
    expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into invoices (id, checkout_id, payment_url, expires_at, created_at)
         values ($1, $2, $3, $4, $5) on conflict (id) do nothing",
        id,
        checkout as CheckoutId,
        payment_url,
        expires_at,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The checkout that the invoice belongs to, if it is ours.
pub async fn find_checkout(
    db: impl PgExecutor<'_>,
    invoice_id: &str,
) -> sqlx::Result<Option<CheckoutId>> {
    sqlx::query_scalar!(
        r#"select checkout_id as "checkout_id: CheckoutId" from invoices where id = $1"#,
        invoice_id
    )
    .fetch_optional(db)
    .await
}

/// A payment page as it is stored.
#[derive(Clone, Debug)]
pub struct StoredInvoice {
    pub id: String,
    pub payment_url: String,
}

/// The invoices of a checkout: the one that its buyer was given, then the others, oldest first.
pub async fn list(
    db: impl PgExecutor<'_>,
    checkout: CheckoutId,
) -> sqlx::Result<Vec<StoredInvoice>> {
    sqlx::query_as!(
        StoredInvoice,
        "select id, payment_url from invoices where checkout_id = $1
         order by is_surplus, created_at, id",
        checkout as CheckoutId,
    )
    .fetch_all(db)
    .await
}

/// Stores an invoice that is one too many, to be canceled at `now`; one that is stored already stays
/// as it is.
pub async fn insert_surplus(
    tx: &mut PgTransaction<'_>,
    id: &str,
    checkout: CheckoutId,
    payment_url: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into invoices (id, checkout_id, payment_url, created_at, is_surplus, cancel_at)
         values ($1, $2, $3, $4, true, $4) on conflict (id) do nothing",
        id,
        checkout as CheckoutId,
        payment_url,
        now,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// An invoice to be canceled, in the hands of one worker until its lease ends.
#[derive(Clone, Debug)]
pub struct ClaimedCancel {
    pub id: String,
    pub checkout_id: CheckoutId,
    pub failures: i32,
}

/// Takes the invoice that waits longest to be canceled, for the holder of `token`.
pub async fn claim_cancel(
    db: impl PgExecutor<'_>,
    token: Uuid,
    now: DateTime<Utc>,
    lease_until: DateTime<Utc>,
) -> sqlx::Result<Option<ClaimedCancel>> {
    sqlx::query_as!(
        ClaimedCancel,
        r#"
        with due as (
            select id from invoices
            where cancel_at <= $2
            order by cancel_at
            limit 1
            for update skip locked
        )
        update invoices set cancel_token = $1, cancel_at = $3
        from due where invoices.id = due.id
        returning invoices.id, checkout_id as "checkout_id: CheckoutId", cancel_failures as failures
        "#,
        token,
        now,
        lease_until,
    )
    .fetch_optional(db)
    .await
}

/// Ends the work of the holder of `token` on an invoice; `false` when somebody else has it.
pub async fn finish_cancel(
    db: impl PgExecutor<'_>,
    id: &str,
    token: Uuid,
    outcome: &str,
) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "update invoices set cancel_at = null, cancel_token = null, cancel_outcome = $3
         where id = $1 and cancel_token = $2",
        id,
        token,
        outcome,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// Gives an invoice back, to be canceled at `cancel_at`.
pub async fn release_cancel(
    db: impl PgExecutor<'_>,
    id: &str,
    token: Uuid,
    failures: i32,
    error: &str,
    cancel_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update invoices set cancel_at = $5, cancel_token = null, cancel_failures = $3,
             cancel_outcome = $4
         where id = $1 and cancel_token = $2",
        id,
        token,
        failures,
        error,
        cancel_at,
    )
    .execute(db)
    .await?;
    Ok(())
}
