//! Sell a plan: write down the intent, let Moyasar make a payment page, remember the page.
//!
//! The intent is committed before Moyasar is asked, and its id stands in the invoice's metadata: an
//! invoice that we never heard of again can always be traced back to its checkout.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use url::Url;
use uuid::Uuid;

use crate::clients::moyasar::{self, Invoice, Moyasar, NewInvoice};
use crate::clients::{ClientError, Flaw};
use crate::clock::Clock;
use crate::db;
use crate::db::checkouts::NewCheckout;
use crate::domain::checkout::{Channel, CheckoutId, CheckoutStatus, Locale};
use crate::domain::email::Email;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};
use crate::domain::money::{Halalas, SAR};
use crate::domain::phone::Phone;
use crate::domain::plan::{Billing, Catalogue, Plan};
use crate::faults;
use crate::wake::Wake;

/// How long a payment page can be paid.
const PAGE_LIFE: TimeDelta = TimeDelta::hours(24);

/// What a customer wants to buy.
#[derive(Clone, Debug)]
pub struct Order {
    pub channel: Channel,
    pub plan_id: String,
    pub customer_name: Option<String>,
    pub customer_email: Email,
    pub customer_phone: Option<Phone>,
    pub tenant_id: Option<String>,
    pub lead_id: Option<String>,
    pub locale: Locale,
    pub distinct_id: Option<String>,
    pub request_id: String,
}

/// What became of an order.
#[derive(Clone, Debug)]
pub enum Started {
    /// The customer can pay at `payment_url`.
    InvoiceCreated(OpenCheckout),
    /// People agree on the price of this plan.
    ContactSales,
    /// There is no account at the payment provider.
    Unavailable,
}

/// A checkout that can be paid.
#[derive(Clone, Debug)]
pub struct OpenCheckout {
    pub checkout_id: CheckoutId,
    pub invoice_id: String,
    /// The invoice's status at the provider.
    pub invoice_status: String,
    pub payment_url: String,
    pub plan_id: String,
    pub amount: Halalas,
    pub currency: &'static str,
    pub expires_at: DateTime<Utc>,
}

/// Why a checkout did not start.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    #[error("plan `{0}` is not for sale")]
    UnknownPlan(String),
    #[error("the payment provider is not asked at the moment")]
    GatewayUnavailable { retry_after: Duration },
    #[error("the payment provider made no payment page")]
    Gateway(#[source] ClientError),
    #[error("the database failed")]
    Storage(#[from] sqlx::Error),
}

/// What starting a checkout needs.
#[derive(Clone)]
pub struct StartCheckout {
    pub db: PgPool,
    /// Absent where no key is configured.
    pub moyasar: Option<Moyasar>,
    pub catalogue: Arc<Catalogue>,
    /// Whether hidden plans are sold: never in production.
    pub sells_hidden: bool,
    /// Root of our public URLs.
    pub app_url: Url,
    pub analytics: Analytics,
    pub clock: Clock,
    pub wake: Wake,
}

impl StartCheckout {
    /// Starts a checkout; the price always comes from the catalogue.
    pub async fn run(&self, order: Order) -> Result<Started, CheckoutError> {
        let plan = self
            .catalogue
            .find_for_sale(&order.plan_id, self.sells_hidden)
            .ok_or_else(|| CheckoutError::UnknownPlan(order.plan_id.clone()))?;
        if plan.billing == Billing::Custom {
            return Ok(Started::ContactSales);
        }
        let Some(moyasar) = &self.moyasar else { return Ok(Started::Unavailable) };
        faults::step("checkout_ordered");
        let checkout = self.write_intent(&order, plan).await?;
        faults::step("intent_saved");
        let made = self.make_invoice(moyasar, &checkout, plan).await;
        let (invoice, payment_url) = match made {
            Ok(made) => made,
            Err(error) => return Err(self.give_up(&checkout, error).await),
        };
        faults::step("invoice_made");
        let remembered = self.remember_page(&checkout, &invoice.id, payment_url.as_str());
        if let Err(error) = db::in_time(remembered).await {
            // The only line that links the two until the invoice's metadata is read.
            tracing::error!(
                checkout.id = %checkout.id,
                invoice.id,
                error = %error,
                "An invoice was made and could not be stored: {error}"
            );
            return Err(error.into());
        }
        faults::step("page_saved");
        self.wake.outbox.notify_one();
        Ok(Started::InvoiceCreated(OpenCheckout {
            checkout_id: checkout.id,
            invoice_id: invoice.id,
            invoice_status: invoice.status,
            payment_url: payment_url.into(),
            plan_id: checkout.plan_id,
            amount: checkout.amount,
            currency: checkout.currency,
            expires_at: checkout.expires_at,
        }))
    }

    async fn write_intent(&self, order: &Order, plan: &Plan) -> sqlx::Result<NewCheckout> {
        let (id, now) = (CheckoutId::random(), self.clock.now());
        let checkout = NewCheckout {
            id,
            channel: order.channel,
            plan_id: plan.id.clone(),
            amount: plan.price(),
            currency: SAR,
            subscriber: subscriber(order),
            customer_name: order.customer_name.clone(),
            customer_email: order.customer_email.as_str().to_owned(),
            customer_phone: order.customer_phone.as_ref().map(|phone| phone.as_str().to_owned()),
            tenant_id: order.tenant_id.clone(),
            lead_id: order.lead_id.clone(),
            locale: order.locale,
            distinct_id: order.distinct_id.clone().unwrap_or_else(|| id.to_string()),
            callback_token: Uuid::new_v4().simple().to_string(),
            request_id: order.request_id.clone(),
            created_at: now,
            expires_at: now + PAGE_LIFE,
        };
        db::in_time(db::checkouts::insert(&self.db, &checkout)).await?;
        Ok(checkout)
    }

    /// Personal data stays with us: the provider learns the plan and our id, nothing of the customer.
    async fn make_invoice(
        &self,
        moyasar: &Moyasar,
        checkout: &NewCheckout,
        plan: &Plan,
    ) -> Result<(Invoice, Url), ClientError> {
        let page = self.public_url(&["checkout", &checkout.id.to_string()]);
        let name = match checkout.locale {
            Locale::Ar => &plan.name_ar,
            Locale::En => &plan.name_en,
        };
        let callback = ["api", "v1", "webhooks", "moyasar", "invoices", &checkout.callback_token];
        let checkout_id = checkout.id.to_string();
        let new = NewInvoice {
            amount: checkout.amount.0,
            currency: checkout.currency,
            description: &format!("Dealix: {name}"),
            callback_url: &self.public_url(&callback),
            success_url: &page,
            back_url: &page,
            expired_at: checkout.expires_at,
            metadata: [("checkout_id", checkout_id.as_str()), ("plan_id", &checkout.plan_id)]
                .into(),
        };
        let invoice = moyasar.create_invoice(&new).await?;
        match invoice.url.clone() {
            Some(url) => Ok((invoice, url)),
            // Nobody can pay without it, and the invoice exists: as uncertain as a lost answer.
            None => {
                Err(ClientError::Unreadable { client: moyasar::CLIENT, flaw: Flaw::Lacks("url") })
            }
        }
    }

    fn public_url(&self, path: &[&str]) -> Url {
        let mut url = self.app_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Stores the payment page and what analytics is to be told, together.
    async fn remember_page(
        &self,
        checkout: &NewCheckout,
        invoice_id: &str,
        payment_url: &str,
    ) -> sqlx::Result<()> {
        let now = self.clock.now();
        let initiated =
            Occurrence::new(FunnelEvent::PaymentInitiated, checkout.distinct_id.as_str(), now)
                .with("checkout_id", checkout.id.to_string())
                .with("plan", checkout.plan_id.as_str())
                .with("amount_halalas", checkout.amount.0)
                .with("currency", checkout.currency);
        let mut tx = self.db.begin().await?;
        let expires_at = Some(checkout.expires_at);
        db::invoices::insert(&mut *tx, invoice_id, checkout.id, payment_url, expires_at, now)
            .await?;
        db::checkouts::set_opened(&mut *tx, checkout.id, CheckoutStatus::Pending, now).await?;
        let request_id = Some(checkout.request_id.as_str());
        db::outbox::insert(&mut tx, &initiated, self.analytics, request_id).await?;
        faults::step("page_unsaved");
        tx.commit().await
    }

    /// Where no invoice can exist the checkout is over. Where one may exist it stays `opening`: its
    /// metadata will tell whose it is.
    async fn give_up(&self, checkout: &NewCheckout, error: ClientError) -> CheckoutError {
        if !error.is_uncertain() {
            let now = self.clock.now();
            let refused = CheckoutStatus::Refused;
            let mark = db::checkouts::set_opened(&self.db, checkout.id, refused, now);
            if let Err(error) = db::in_time(mark).await {
                tracing::warn!(
                    checkout.id = %checkout.id,
                    error = %error,
                    "A refused checkout could not be marked: {error}"
                );
            }
        }
        match error {
            ClientError::BreakerOpen { retry_after, .. } => {
                CheckoutError::GatewayUnavailable { retry_after }
            }
            ClientError::Passive { .. } => {
                CheckoutError::GatewayUnavailable { retry_after: Duration::from_secs(60) }
            }
            error @ (ClientError::Unreachable { .. }
            | ClientError::Status { .. }
            | ClientError::Unreadable { .. }) => CheckoutError::Gateway(error),
        }
    }
}

/// Whose subscription an order pays. A tenant's name and an address never mean the same customer, so
/// that nobody can name a tenant like somebody's address.
fn subscriber(order: &Order) -> String {
    match &order.tenant_id {
        Some(tenant) => format!("tenant:{tenant}"),
        None => format!("email:{}", order.customer_email.key()),
    }
}
