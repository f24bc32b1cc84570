//! Adopt an invoice that we do not know: its metadata tells whose it is.
//!
//! An invoice that was made and whose answer was lost is ours all the same. Moyasar is asked outside of
//! any transaction; what it says is written in the one that settles the payment.

use chrono::{DateTime, Utc};
use sqlx::{PgPool, PgTransaction};

use crate::clients::moyasar::{Invoice, Moyasar, Payment};
use crate::clients::{ClientError, Flaw};
use crate::db;
use crate::domain::checkout::CheckoutId;
use crate::flows::checkout::open_checkout::named_checkout;

/// An invoice of ours that we had not heard of.
#[derive(Debug)]
pub(super) struct Adoption {
    pub checkout: CheckoutId,
    invoice: Invoice,
}

/// Why nobody can say yet whose invoice it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdoptError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Storage(#[from] sqlx::Error),
}

impl Adoption {
    /// Looks whose the payment is if neither its invoice nor the payment itself is known; nothing if
    /// one of them is, or if it is nobody's of ours.
    pub async fn find(
        db: &PgPool,
        moyasar: &Moyasar,
        payment: &Payment,
    ) -> Result<Option<Self>, AdoptError> {
        let Some(invoice_id) = &payment.invoice_id else { return Ok(None) };
        if db::in_time(db::invoices::find_checkout(db, invoice_id)).await?.is_some()
            || db::in_time(db::payments::find_checkout(db, &payment.id)).await?.is_some()
        {
            return Ok(None);
        }
        let invoice = match moyasar.fetch_invoice(invoice_id).await {
            Ok(invoice) => invoice,
            Err(ClientError::Status { status, .. }) if status.as_u16() == 404 => return Ok(None),
            // Another invoice than was asked for says nothing about this one.
            Err(ClientError::Unreadable { flaw: Flaw::NotAsked, .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(checkout) = named_checkout(&invoice.metadata) else { return Ok(None) };
        let is_ours = db::in_time(db::checkouts::find(db, checkout)).await?.is_some();
        Ok(is_ours.then_some(Self { checkout, invoice }))
    }

    /// Maps the invoice to its checkout, which is locked. Beside one that it has, it is one too many,
    /// and canceled unless it was paid. One without a page to pay at cannot be shown to anybody; its
    /// payment is mapped by itself.
    pub async fn write(&self, tx: &mut PgTransaction<'_>, now: DateTime<Utc>) -> sqlx::Result<()> {
        let Self { checkout, invoice } = self;
        let Some(url) = &invoice.url else { return Ok(()) };
        if !db::invoices::list(&mut **tx, *checkout).await?.is_empty() {
            return db::invoices::insert_surplus(tx, &invoice.id, *checkout, url.as_str(), now)
                .await;
        }
        let made_at = invoice.created_at.unwrap_or(now);
        let ends_at = invoice.expired_at;
        db::invoices::insert(&mut **tx, &invoice.id, *checkout, url.as_str(), ends_at, made_at)
            .await
    }
}
