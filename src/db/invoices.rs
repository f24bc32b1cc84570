//! The `invoices` table.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;

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

/// The invoices of a checkout, oldest first.
pub async fn list(db: impl PgExecutor<'_>, checkout: CheckoutId) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "select id from invoices where checkout_id = $1 order by created_at",
        checkout as CheckoutId,
    )
    .fetch_all(db)
    .await
}
