//! Sell a plan: write down the intent, let Moyasar make a payment page, remember the page.
//!
//! The intent is committed before Moyasar is asked, and its id stands in the invoice's metadata: an
//! invoice that we never heard of again can always be traced back to its checkout.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, PgTransaction};
use url::Url;
use uuid::Uuid;

use crate::clients::moyasar::{self, Moyasar, NewInvoice};
use crate::clients::{ClientError, Flaw};
use crate::clock::Clock;
use crate::db;
use crate::db::checkouts::NewCheckout;
use crate::domain::checkout::{Channel, CheckoutId, Locale};
use crate::domain::email::Email;
use crate::domain::funnel::Analytics;
use crate::domain::money::SAR;
use crate::domain::phone::Phone;
use crate::domain::plan::{Billing, Catalogue, Plan};
use crate::faults;
use crate::flows::checkout::guard_email::{EmailGuard, TooMany};
use crate::flows::checkout::open_checkout::{
    Found, Intent, METADATA_KEY, OpenCheckout, Page, ask_about_strange, open, refuse, search,
};
use crate::flows::idempotency::{self, Claim, IdempotencyKey};
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Started {
    /// The customer can pay at `payment_url`.
    InvoiceCreated(OpenCheckout),
    /// People agree on the price of this plan.
    ContactSales,
    /// There is no account at the payment provider.
    Unavailable,
}

/// The answer to an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub started: Started,
    /// Whether it was given before, to the same request.
    pub is_replayed: bool,
}

/// Why a checkout did not start.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    #[error("plan `{0}` is not for sale")]
    UnknownPlan(String),
    #[error("the idempotency key stands for another request")]
    KeyReused,
    #[error("a request with this idempotency key is in progress")]
    InProgress { retry_after: Duration },
    #[error("too many checkouts of one address")]
    TooMany(TooMany),
    #[error("the payment provider is not asked at the moment")]
    GatewayUnavailable { retry_after: Duration },
    #[error("the payment provider made no payment page")]
    Gateway(#[source] ClientError),
    /// It may have made one after all: a look will tell.
    #[error("the payment provider knows of no payment page yet")]
    Unresolved { retry_after: Duration },
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
    pub guard: EmailGuard,
    /// When the provider is asked what became of a checkout of which nobody has heard.
    pub resolve_after: TimeDelta,
    pub analytics: Analytics,
    pub clock: Clock,
    pub wake: Wake,
}

/// What came of writing an intent.
enum Intended {
    Written(NewCheckout),
    Answered(Answer),
    Refused(CheckoutError),
}

impl StartCheckout {
    /// Starts a checkout, once for each key; the price always comes from the catalogue.
    pub async fn run(
        &self,
        order: Order,
        key: Option<IdempotencyKey>,
    ) -> Result<Answer, CheckoutError> {
        let plan = self
            .catalogue
            .find_for_sale(&order.plan_id, self.sells_hidden)
            .ok_or_else(|| CheckoutError::UnknownPlan(order.plan_id.clone()))?;
        if plan.billing == Billing::Custom {
            return match order.channel {
                Channel::Pricing => self.answer_at_once(key, Started::ContactSales).await,
                // A plan without a price cannot be invoiced.
                Channel::Service => Err(CheckoutError::UnknownPlan(order.plan_id)),
            };
        }
        let Some(moyasar) = &self.moyasar else {
            return self.answer_at_once(key, Started::Unavailable).await;
        };
        faults::step("checkout_ordered");
        let checkout = match db::in_time(self.write_intent(&order, plan, key.as_ref())).await? {
            Intended::Written(checkout) => checkout,
            Intended::Answered(answer) => return Ok(answer),
            Intended::Refused(error) => return Err(error),
        };
        faults::step("intent_saved");
        let intent = Intent::from(&checkout);
        let found = match self.make_invoice(moyasar, &checkout, plan).await {
            Ok(page) => Found { pages: vec![page], ..Found::default() },
            Err(error) if error.is_uncertain() => {
                tracing::warn!(
                    checkout.id = %checkout.id,
                    error = %error,
                    "Whether an invoice was made is not known: {error}"
                );
                self.find(moyasar, &intent).await?
            }
            Err(error) => return Err(self.give_up(&checkout, error).await),
        };
        faults::step("invoice_made");
        let open = db::in_time(self.remember(&intent, &found)).await.inspect_err(|error| {
            tracing::error!(
                checkout.id = %checkout.id,
                error = %error,
                "An invoice was made and could not be stored yet: {error}"
            );
        })?;
        faults::step("page_saved");
        self.wake.outbox.notify_one();
        Ok(Answer { started: Started::InvoiceCreated(open), is_replayed: false })
    }

    /// An answer for which nobody has to be asked. Stored with the key if it stays true.
    async fn answer_at_once(
        &self,
        key: Option<IdempotencyKey>,
        started: Started,
    ) -> Result<Answer, CheckoutError> {
        let Some(key) = key else { return Ok(Answer { started, is_replayed: false }) };
        let answer = async {
            let mut tx = self.db.begin().await?;
            let subject = Uuid::new_v4();
            let claim = idempotency::claim(&mut tx, &key, subject, self.clock.now()).await?;
            if claim != Claim::Won {
                return Ok(answered(claim));
            }
            if started == Started::ContactSales {
                db::idempotency_keys::complete(&mut tx, subject, &started).await?;
                faults::step("answer_unsaved");
                tx.commit().await?;
                faults::step("answer_saved");
            }
            Ok(None)
        };
        let answer = db::in_time(answer).await?;
        answer.unwrap_or(Ok(Answer { started, is_replayed: false }))
    }

    /// Writes the intent together with its key, so that a claim always has its checkout.
    async fn write_intent(
        &self,
        order: &Order,
        plan: &Plan,
        key: Option<&IdempotencyKey>,
    ) -> sqlx::Result<Intended> {
        let checkout = self.intent(order, plan);
        let (now, mut tx) = (checkout.created_at, self.db.begin().await?);
        if let Some(key) = key
            && let Some(answer) =
                answered(idempotency::claim(&mut tx, key, checkout.id.0, now).await?)
        {
            return Ok(answer.map_or_else(Intended::Refused, Intended::Answered));
        }
        if order.channel == Channel::Pricing
            && let Err(too_many) = self.guard.pass(&mut tx, &order.customer_email, now).await?
        {
            return Ok(Intended::Refused(CheckoutError::TooMany(too_many)));
        }
        db::checkouts::insert(&mut *tx, &checkout).await?;
        faults::step("intent_unsaved");
        tx.commit().await?;
        Ok(Intended::Written(checkout))
    }

    fn intent(&self, order: &Order, plan: &Plan) -> NewCheckout {
        let (id, now) = (CheckoutId::random(), self.clock.now());
        NewCheckout {
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
            look_at: now + self.resolve_after,
        }
    }

    /// Personal data stays with us: the provider learns the plan and our id, nothing of the customer.
    async fn make_invoice(
        &self,
        moyasar: &Moyasar,
        checkout: &NewCheckout,
        plan: &Plan,
    ) -> Result<Page, ClientError> {
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
            metadata: [(METADATA_KEY, checkout_id.as_str()), ("plan_id", &checkout.plan_id)].into(),
        };
        let invoice = moyasar.create_invoice(&new).await?;
        // Nobody can pay without the address, and the invoice exists: as uncertain as a lost answer.
        let flaw = Flaw::Lacks("url");
        Page::of(invoice).ok_or(ClientError::Unreadable { client: moyasar::CLIENT, flaw })
    }

    fn public_url(&self, path: &[&str]) -> Url {
        let mut url = self.app_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// After a lost answer: what the provider has. There is no second request for an invoice; whatever
    /// this says, the checkout stays `opening`, and a later look tells how it ended.
    async fn find(&self, moyasar: &Moyasar, intent: &Intent) -> Result<Found, CheckoutError> {
        let retry_after = self.resolve_after.to_std().unwrap_or_default();
        faults::step("invoice_answer_lost");
        let found = search(moyasar, intent).await.map_err(CheckoutError::Gateway)?;
        faults::step("invoice_looked_up");
        if found.pages.is_empty() {
            Err(CheckoutError::Unresolved { retry_after })
        } else {
            Ok(found)
        }
    }

    /// Stores the payment page and all that follows from it, together.
    async fn remember(&self, intent: &Intent, found: &Found) -> sqlx::Result<OpenCheckout> {
        let (now, mut tx) = (self.clock.now(), self.db.begin().await?);
        // Whoever finds a page looks for no other: nobody else would ask.
        let questions = ask_about_strange(&mut tx, intent.id, &found.strange, now).await?;
        let open = open(&mut tx, intent, &found.pages, self.analytics, now).await?;
        faults::step("page_unsaved");
        tx.commit().await?;
        questions.announce(&self.wake);
        open.ok_or(sqlx::Error::RowNotFound)
    }

    /// Where no invoice can exist the checkout is over, and the same request may be made again.
    async fn give_up(&self, checkout: &NewCheckout, error: ClientError) -> CheckoutError {
        let end = async {
            let mut tx: PgTransaction<'_> = self.db.begin().await?;
            refuse(&mut tx, checkout.id, self.clock.now()).await?;
            faults::step("refusal_unsaved");
            tx.commit().await?;
            faults::step("refusal_saved");
            Ok(())
        };
        if let Err(error) = db::in_time(end).await {
            tracing::warn!(
                checkout.id = %checkout.id,
                error = %error,
                "A refused checkout is not marked yet: {error}"
            );
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

/// The answer that a key already has; none if its request is new.
fn answered(claim: Claim<Started>) -> Option<Result<Answer, CheckoutError>> {
    match claim {
        Claim::Won => None,
        Claim::Done(started) => Some(Ok(Answer { started, is_replayed: true })),
        Claim::Reused => Some(Err(CheckoutError::KeyReused)),
        Claim::InProgress { retry_after } => Some(Err(CheckoutError::InProgress { retry_after })),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::money::Halalas;

    /// A release must read what the one before it has stored.
    #[test]
    fn a_stored_answer_is_written_as_it_always_was() {
        let id = CheckoutId(Uuid::from_u128(7));
        let open = OpenCheckout {
            checkout_id: id,
            invoice_id: "invoice".into(),
            invoice_status: "initiated".into(),
            payment_url: "https://example.com/pay".into(),
            plan_id: "starter".into(),
            amount: Halalas(99_000),
            currency: "SAR".into(),
            expires_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        };
        let invoice = json!({
            "status": "invoice_created",
            "checkout_id": "00000000-0000-0000-0000-000000000007",
            "invoice_id": "invoice",
            "invoice_status": "initiated",
            "payment_url": "https://example.com/pay",
            "plan_id": "starter",
            "amount": 99_000,
            "currency": "SAR",
            "expires_at": "2026-01-02T03:04:05Z",
        });
        for (started, written) in [
            (Started::InvoiceCreated(open), invoice),
            (Started::ContactSales, json!({ "status": "contact_sales" })),
            (Started::Unavailable, json!({ "status": "unavailable" })),
        ] {
            assert_eq!(serde_json::to_value(&started).unwrap(), written);
            assert_eq!(serde_json::from_value::<Started>(written).unwrap(), started);
        }
    }
}
