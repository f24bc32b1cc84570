//! Open a checkout: find the invoices that the provider has for it, and remember them.
//!
//! Whoever learns of an invoice first opens its checkout: the request that made it, or a later look.
//! Opening twice changes nothing.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgTransaction;
use url::Url;
use uuid::Uuid;

use crate::clients::ClientError;
use crate::clients::moyasar::{Invoice, InvoiceList, Moyasar};
use crate::db;
use crate::db::checkouts::NewCheckout;
use crate::db::looks::ClaimedLook;
use crate::db::reviews::NewReview;
use crate::domain::checkout::CheckoutId;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};
use crate::domain::money::Halalas;
use crate::flows::checkout::start_checkout::Started;
use crate::flows::questions::Questions;

/// The key in an invoice's metadata that names its checkout.
pub(super) const METADATA_KEY: &str = "checkout_id";

/// How long after the end of its time a checkout is looked at once more: whoever began to pay in time
/// may end a little late.
const GRACE: TimeDelta = TimeDelta::minutes(10);

/// A checkout that can be paid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenCheckout {
    pub checkout_id: CheckoutId,
    pub invoice_id: String,
    /// The invoice's status at the provider.
    pub invoice_status: String,
    pub payment_url: String,
    pub plan_id: String,
    pub amount: Halalas,
    pub currency: String,
    pub expires_at: DateTime<Utc>,
}

/// What is known of a checkout before its invoice is.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub id: CheckoutId,
    pub plan_id: String,
    pub amount: Halalas,
    pub currency: String,
    pub distinct_id: String,
    pub request_id: String,
    pub expires_at: DateTime<Utc>,
}

impl Intent {
    /// When the provider is asked about it once more, whatever happens until then.
    pub fn last_look_at(&self) -> DateTime<Utc> {
        self.expires_at + GRACE
    }
}

impl From<&NewCheckout> for Intent {
    fn from(new: &NewCheckout) -> Self {
        Self {
            id: new.id,
            plan_id: new.plan_id.clone(),
            amount: new.amount,
            currency: new.currency.to_owned(),
            distinct_id: new.distinct_id.clone(),
            request_id: new.request_id.clone(),
            expires_at: new.expires_at,
        }
    }
}

impl From<&ClaimedLook> for Intent {
    fn from(claimed: &ClaimedLook) -> Self {
        Self {
            id: claimed.id,
            plan_id: claimed.plan_id.clone(),
            amount: claimed.amount,
            currency: claimed.currency.clone(),
            distinct_id: claimed.distinct_id.clone(),
            request_id: claimed.request_id.clone(),
            expires_at: claimed.expires_at,
        }
    }
}

/// A hosted payment page of a checkout.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub invoice_id: String,
    pub status: String,
    pub url: Url,
    pub created_at: Option<DateTime<Utc>>,
}

impl Page {
    /// The invoice's page; none if the provider does not say where it is, because then nobody can pay.
    pub fn of(invoice: Invoice) -> Option<Self> {
        let Invoice { id: invoice_id, status, url, created_at, .. } = invoice;
        url.map(|url| Self { invoice_id, status, url, created_at })
    }
}

/// What the provider has for a checkout.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The pages that are what we asked for; the one to keep first, then the newer ones.
    pub pages: Vec<Page>,
    /// Invoices that name the checkout and are not what we asked for: a person must look.
    pub strange: Vec<String>,
    /// Whether that is all. If it is not, what was not found may be there all the same.
    pub is_complete: bool,
}

/// Asks the provider what it has for the checkout.
pub(super) async fn search(moyasar: &Moyasar, intent: &Intent) -> Result<Found, ClientError> {
    let id = intent.id.to_string();
    let InvoiceList { invoices, is_complete } =
        moyasar.list_invoices_by_metadata(METADATA_KEY, &id).await?;
    let mut found = Found { is_complete, ..Found::default() };
    for invoice in invoices {
        // A filter that is not understood finds everything.
        if !names(&invoice, intent.id) {
            continue;
        }
        let is_ours = invoice.amount == Some(intent.amount.0)
            && invoice.currency.as_deref() == Some(intent.currency.as_str());
        let id = invoice.id.clone();
        match Page::of(invoice) {
            Some(page) if is_ours => found.pages.push(page),
            Some(_) | None => found.strange.push(id),
        }
    }
    // The older stays, unless it cannot be paid any more.
    found.pages.sort_by(|one, other| {
        let order =
            |page: &Page| (has_ended(&page.status), page.created_at, page.invoice_id.clone());
        order(one).cmp(&order(other))
    });
    Ok(found)
}

/// Asks a person about invoices that name the checkout and are not what we asked for.
pub(super) async fn ask_about_strange(
    tx: &mut PgTransaction<'_>,
    checkout: CheckoutId,
    strange: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<Questions> {
    let mut questions = Questions::default();
    for invoice in strange {
        let difference =
            format!("invoice {invoice} names the checkout and is not what was asked for");
        let question = NewReview {
            kind: "strange_invoice",
            payment_id: None,
            checkout_id: Some(checkout),
            event_id: None,
            difference: &difference,
            opened_at: now,
        };
        questions.ask(&mut **tx, &question).await?;
    }
    Ok(questions)
}

/// Whether the invoice's metadata says that it is that checkout's.
pub(super) fn names(invoice: &Invoice, checkout: CheckoutId) -> bool {
    named_checkout(&invoice.metadata) == Some(checkout)
}

/// The checkout that an invoice's metadata names. It may be of any shape: people make invoices too.
pub(in crate::flows) fn named_checkout(metadata: &Value) -> Option<CheckoutId> {
    let name = metadata.get(METADATA_KEY)?.as_str()?;
    Uuid::try_parse(name).ok().map(CheckoutId)
}

/// Whether an invoice of that status can never be paid again and was not.
pub(super) fn has_ended(status: &str) -> bool {
    matches!(status, "expired" | "canceled")
}

/// Remembers the pages of a checkout, together with all that follows from there being one: analytics,
/// and the answer to whoever asks again. The first page stays, if none was given out before; the others
/// are to be canceled. None if there is no page at all.
pub(super) async fn open(
    tx: &mut PgTransaction<'_>,
    intent: &Intent,
    pages: &[Page],
    analytics: Analytics,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<OpenCheckout>> {
    // One at a time decides which page stays.
    db::checkouts::lock(tx, intent.id).await?;
    let mut kept = db::invoices::list(&mut **tx, intent.id).await?.into_iter().next();
    for page in pages {
        let (id, url) = (page.invoice_id.as_str(), page.url.as_str());
        if kept.as_ref().is_some_and(|kept| kept.id != id) {
            db::invoices::insert_surplus(tx, id, intent.id, url, now).await?;
        } else if kept.is_none() {
            let (ends_at, made_at) = (Some(intent.expires_at), page.created_at.unwrap_or(now));
            db::invoices::insert(&mut **tx, id, intent.id, url, ends_at, made_at).await?;
            kept = db::invoices::list(&mut **tx, intent.id).await?.into_iter().next();
        }
    }
    let Some(kept) = kept else { return Ok(None) };
    let status = pages.iter().find(|page| page.invoice_id == kept.id);
    let open = OpenCheckout {
        checkout_id: intent.id,
        invoice_id: kept.id,
        invoice_status: status.map_or_else(|| "initiated".to_owned(), |page| page.status.clone()),
        payment_url: kept.payment_url,
        plan_id: intent.plan_id.clone(),
        amount: intent.amount,
        currency: intent.currency.clone(),
        expires_at: intent.expires_at,
    };
    if db::checkouts::set_open(tx, intent.id, intent.last_look_at(), now).await? {
        let initiated =
            Occurrence::new(FunnelEvent::PaymentInitiated, intent.distinct_id.as_str(), now)
                .with("checkout_id", intent.id.to_string())
                .with("plan", intent.plan_id.as_str())
                .with("amount_halalas", intent.amount.0)
                .with("currency", intent.currency.as_str());
        db::outbox::insert(tx, &initiated, analytics, Some(&intent.request_id)).await?;
        let answer = Started::InvoiceCreated(open.clone());
        db::idempotency_keys::complete(tx, intent.id.0, &answer).await?;
    }
    Ok(Some(open))
}

/// Ends a checkout that has no invoice, and gives its key back; `false` when it has moved on.
pub(super) async fn refuse(
    tx: &mut PgTransaction<'_>,
    checkout: CheckoutId,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let is_refused = db::checkouts::set_refused(tx, checkout, now).await?;
    if is_refused {
        db::idempotency_keys::release(tx, checkout.0).await?;
    }
    Ok(is_refused)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_of_any_shape_names_a_checkout_or_none() {
        let id = CheckoutId::random();
        let text = id.to_string();
        assert_eq!(named_checkout(&json!({ "checkout_id": text, "n": 7 })), Some(id));
        for other in [
            json!(null),
            json!(7),
            json!("checkout_id"),
            json!([text]),
            json!({}),
            json!({ "checkout_id": null }),
            json!({ "checkout_id": 7 }),
            json!({ "checkout_id": [text] }),
            json!({ "checkout_id": "" }),
            json!({ "checkout_id": "not a checkout" }),
        ] {
            assert_eq!(named_checkout(&other), None, "{other}");
        }
    }
}
