//! What the provider knows: invoices, payments and webhooks, and the rules between an invoice and its payments.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use super::cards::{Card, CardMistake};
use super::errors::ApiError;
use super::invoices::{Invoice, InvoiceStatus, NewInvoice};
use super::listing::Listing;
use super::payments::{Order, Payment, PaymentStatus};
use super::webhooks::Webhook;
use super::{metadata, money};
use crate::clock::stamp;
use crate::faults::Twist;
use crate::shelf::Shelf;

/// Where the sandbox's own pages are.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    pub(crate) base: Url,
    pub(crate) api: Url,
}

/// Everything the provider remembers.
#[derive(Debug)]
pub(crate) struct Books {
    invoices: Shelf<Invoice>,
    /// Which payments belong to an invoice, oldest first.
    attempts: HashMap<String, Vec<String>>,
    /// Positions of invoices by one key and value of their metadata.
    by_metadata: HashMap<(String, String), BTreeSet<u64>>,
    payments: Shelf<Payment>,
    pub(crate) webhooks: Vec<Webhook>,
}

/// What happened, for those who must be told.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) payment: Payment,
    pub(crate) event: Option<String>,
    /// The invoice, if this made it paid.
    pub(crate) paid_invoice: Option<Invoice>,
}

/// Why an invoice takes no money.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PayRefusal {
    NoSuchInvoice,
    NotPayable(InvoiceStatus),
    BadCard(Vec<CardMistake>),
}

impl Books {
    pub(crate) fn new() -> Self {
        Self {
            invoices: Shelf::unbounded(),
            attempts: HashMap::new(),
            by_metadata: HashMap::new(),
            payments: Shelf::unbounded(),
            webhooks: Vec::new(),
        }
    }

    pub(crate) fn open_invoice(
        &mut self,
        request: NewInvoice,
        links: &Links,
        now: DateTime<Utc>,
    ) -> Invoice {
        let id = Uuid::new_v4().to_string();
        let invoice = Invoice {
            status: InvoiceStatus::Initiated,
            amount_format: money::format(request.amount, &request.currency),
            amount: request.amount,
            currency: request.currency,
            description: request.description,
            logo_url: None,
            url: format!("{}invoices/{id}?lang=en", links.base),
            callback_url: request.callback_url,
            expired_at: request.expired_at,
            created_at: now,
            updated_at: now,
            back_url: request.back_url,
            success_url: request.success_url,
            metadata: request.metadata,
            payments: Vec::new(),
            id: id.clone(),
        };
        let position = self.invoices.insert(&id, invoice.clone());
        self.index(&invoice, position);
        invoice
    }

    /// Takes the request for an invoice once more, as if something on the way had sent it twice.
    pub(crate) fn repeat_invoice(
        &mut self,
        id: &str,
        links: &Links,
        now: DateTime<Utc>,
    ) -> Option<Invoice> {
        let first = self.invoices.get(id)?.clone();
        let request = NewInvoice {
            amount: first.amount,
            currency: first.currency,
            description: first.description,
            callback_url: first.callback_url,
            success_url: first.success_url,
            back_url: first.back_url,
            expired_at: first.expired_at,
            metadata: first.metadata,
        };
        Some(self.open_invoice(request, links, now))
    }

    /// The invoice with its payments; it expires by being looked at.
    pub(crate) fn invoice(&self, id: &str, now: DateTime<Utc>) -> Option<Invoice> {
        self.invoices.get(id).map(|invoice| self.filled(invoice, now))
    }

    pub(crate) fn all_invoices(&self, now: DateTime<Utc>) -> Vec<Invoice> {
        self.invoices.oldest_first().map(|invoice| self.filled(invoice, now)).collect()
    }

    pub(crate) fn payment(&self, id: &str) -> Option<&Payment> {
        self.payments.get(id)
    }

    pub(crate) fn all_payments(&self) -> Vec<Payment> {
        self.payments.oldest_first().cloned().collect()
    }

    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.invoices.total(), self.payments.total())
    }

    /// Matching invoices, newest first and without their payments. An id or metadata is looked up, not searched.
    pub(crate) fn list_invoices<'a>(
        &'a self,
        listing: &'a Listing,
        now: DateTime<Utc>,
    ) -> impl Iterator<Item = &'a Invoice> {
        let candidates: Box<dyn Iterator<Item = &Invoice>> =
            match (&listing.id, listing.metadata.first()) {
                (Some(id), _) => Box::new(self.invoices.get(id).into_iter()),
                (None, Some(pair)) => {
                    let positions = self.by_metadata.get(pair).into_iter().flatten().rev();
                    Box::new(positions.filter_map(|position| self.invoices.at(*position)))
                }
                (None, None) => Box::new(self.invoices.newest_first()),
            };
        candidates.filter(move |invoice| {
            let status = status_at(invoice, now).as_str();
            listing.status.as_deref().is_none_or(|wanted| wanted == status)
                && listing.created_after.is_none_or(|after| invoice.created_at > after)
                && listing.created_before.is_none_or(|before| invoice.created_at < before)
                && has_metadata(invoice.metadata.as_ref(), &listing.metadata)
        })
    }

    /// The older shape of list items: no payments, no logo, but who paid and when.
    pub(crate) fn list_item(&self, invoice: &Invoice, now: DateTime<Utc>) -> Value {
        let attempts = self.attempts.get(&invoice.id).into_iter().flatten();
        let paid = attempts.filter_map(|id| self.payments.get(id)).find(|payment| {
            matches!(payment.status, PaymentStatus::Paid | PaymentStatus::Captured)
        });
        let mut item = json!(at(invoice, now));
        if let Some(fields) = item.as_object_mut() {
            fields.remove("payments");
            fields.remove("logo_url");
            fields.insert("payment_id".to_owned(), json!(paid.map(|payment| &payment.id)));
            let paid_at =
                paid.map(|payment| stamp(payment.captured_at.unwrap_or(payment.created_at)));
            fields.insert("paid_at".to_owned(), json!(paid_at));
        }
        item
    }

    pub(crate) fn list_payments<'a>(
        &'a self,
        listing: &'a Listing,
    ) -> impl Iterator<Item = &'a Payment> {
        let candidates: Box<dyn Iterator<Item = &Payment>> = match &listing.id {
            Some(id) => Box::new(self.payments.get(id).into_iter()),
            None => Box::new(self.payments.newest_first()),
        };
        candidates.filter(|payment| {
            listing.status.as_deref().is_none_or(|status| status == payment.status.as_str())
                && listing.created_after.is_none_or(|after| payment.created_at > after)
                && listing.created_before.is_none_or(|before| payment.created_at < before)
                && listing.updated_after.is_none_or(|after| payment.updated_at > after)
                && listing.updated_before.is_none_or(|before| payment.updated_at < before)
                && listing
                    .card_last_digits
                    .as_deref()
                    .is_none_or(|digits| payment.source.number.replace('-', "").ends_with(digits))
                && (listing.receipt_no.is_none()
                    || payment.source.reference_number == listing.receipt_no)
                && has_metadata(payment.metadata.as_ref(), &listing.metadata)
        })
    }

    pub(crate) fn update_invoice(
        &mut self,
        id: &str,
        update: Option<Map<String, Value>>,
        now: DateTime<Utc>,
    ) -> Result<Invoice, ApiError> {
        let position = self.invoices.position(id).ok_or_else(ApiError::not_found)?;
        let invoice = self.invoices.get_mut(id).ok_or_else(ApiError::not_found)?;
        let before = invoice.metadata.take();
        for pair in pairs(before.as_ref()) {
            if let Some(positions) = self.by_metadata.get_mut(&pair) {
                positions.remove(&position);
            }
        }
        invoice.metadata = metadata::merge(before, update);
        invoice.updated_at = now;
        let updated = invoice.clone();
        self.index(&updated, position);
        Ok(self.filled(&updated, now))
    }

    pub(crate) fn cancel_invoice(
        &mut self,
        id: &str,
        now: DateTime<Utc>,
    ) -> Result<Invoice, ApiError> {
        let invoice = self.invoices.get_mut(id).ok_or_else(ApiError::not_found)?;
        let status = status_at(invoice, now);
        if status != InvoiceStatus::Initiated {
            let message = format!("Cancel failed. The Invoice is already {}.", status.as_str());
            return Err(ApiError::refused(&message));
        }
        invoice.status = InvoiceStatus::Canceled;
        invoice.updated_at = now;
        self.invoice(id, now).ok_or_else(ApiError::not_found)
    }

    /// Ends an invoice's time now.
    pub(crate) fn expire_invoice(
        &mut self,
        id: &str,
        now: DateTime<Utc>,
    ) -> Result<Invoice, ApiError> {
        let invoice = self.invoices.get_mut(id).ok_or_else(ApiError::not_found)?;
        invoice.expired_at = Some(now);
        self.invoice(id, now).ok_or_else(ApiError::not_found)
    }

    /// A card at the payment page. A declined one leaves the invoice payable.
    pub(crate) fn pay(
        &mut self,
        id: &str,
        card: &Card,
        twists: &[Twist],
        links: &Links,
        now: DateTime<Utc>,
    ) -> Result<Change, PayRefusal> {
        let invoice = self.invoices.get(id).ok_or(PayRefusal::NoSuchInvoice)?;
        let mistakes = card.mistakes();
        if !mistakes.is_empty() {
            return Err(PayRefusal::BadCard(mistakes));
        }
        let status = status_at(invoice, now);
        if status != InvoiceStatus::Initiated && !twists.contains(&Twist::Late) {
            return Err(PayRefusal::NotPayable(status));
        }
        let mut order = Order {
            invoice_id: id,
            page_url: &format!("{}invoices/{id}", links.base),
            api_url: links.api.as_str(),
            amount: invoice.amount,
            currency: &invoice.currency,
            description: &invoice.description,
        };
        for twist in twists {
            if let Twist::Charge { amount, currency } = twist {
                order.amount = amount.unwrap_or(order.amount);
                order.currency = currency.as_deref().unwrap_or(order.currency);
            }
        }
        let payment = Payment::attempt(&order, card, now);
        self.payments.insert(&payment.id, payment.clone());
        self.attempts.entry(id.to_owned()).or_default().push(payment.id.clone());
        Ok(self.follow(payment, now))
    }

    /// Changes a payment, and its invoice with it.
    pub(crate) fn change_payment(
        &mut self,
        id: &str,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Payment) -> Result<(), ApiError>,
    ) -> Result<Change, ApiError> {
        let payment = self.payments.get_mut(id).ok_or_else(ApiError::not_found)?;
        change(payment)?;
        let payment = payment.clone();
        Ok(self.follow(payment, now))
    }

    /// Lets the invoice follow its payment.
    fn follow(&mut self, payment: Payment, now: DateTime<Utc>) -> Change {
        let event = payment.event();
        let mut change = Change { payment, event, paid_invoice: None };
        let Some(invoice) =
            change.payment.invoice_id.as_deref().and_then(|id| self.invoices.get_mut(id))
        else {
            return change;
        };
        let before = invoice.status;
        invoice.status = match &change.payment.status {
            PaymentStatus::Paid | PaymentStatus::Captured => InvoiceStatus::Paid,
            PaymentStatus::Authorized => InvoiceStatus::OnHold,
            PaymentStatus::Voided => InvoiceStatus::Voided,
            PaymentStatus::Refunded if change.payment.is_fully_refunded() => {
                InvoiceStatus::Refunded
            }
            PaymentStatus::Initiated
            | PaymentStatus::Failed
            | PaymentStatus::Refunded
            | PaymentStatus::Verified
            | PaymentStatus::Expired
            | PaymentStatus::Other(_) => before,
        };
        invoice.updated_at = now;
        if before != InvoiceStatus::Paid && invoice.status == InvoiceStatus::Paid {
            let id = invoice.id.clone();
            change.paid_invoice = self.invoice(&id, now);
        }
        change
    }

    fn filled(&self, invoice: &Invoice, now: DateTime<Utc>) -> Invoice {
        let mut invoice = at(invoice, now);
        let attempts = self.attempts.get(&invoice.id).into_iter().flatten();
        invoice.payments = attempts.filter_map(|id| self.payments.get(id)).cloned().collect();
        invoice
    }

    fn index(&mut self, invoice: &Invoice, position: u64) {
        for pair in pairs(invoice.metadata.as_ref()) {
            self.by_metadata.entry(pair).or_default().insert(position);
        }
    }
}

/// The invoice as it reads at this moment.
fn at(invoice: &Invoice, now: DateTime<Utc>) -> Invoice {
    let mut invoice = invoice.clone();
    invoice.status = status_at(&invoice, now);
    if let (InvoiceStatus::Expired, Some(end)) = (invoice.status, invoice.expired_at) {
        invoice.updated_at = end;
    }
    invoice
}

fn status_at(invoice: &Invoice, now: DateTime<Utc>) -> InvoiceStatus {
    match (invoice.status, invoice.expired_at) {
        (InvoiceStatus::Initiated, Some(end)) if end <= now => InvoiceStatus::Expired,
        (status, _) => status,
    }
}

fn pairs(metadata: Option<&Map<String, Value>>) -> impl Iterator<Item = (String, String)> {
    metadata
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), metadata::text(value)?)))
}

fn has_metadata(metadata: Option<&Map<String, Value>>, wanted: &[(String, String)]) -> bool {
    wanted.iter().all(|(key, text)| {
        let value = metadata.and_then(|fields| fields.get(key));
        value.and_then(metadata::text).as_ref() == Some(text)
    })
}
