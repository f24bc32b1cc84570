//! The state that all routes share, and what one change at the provider sets in motion.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::watch;
use url::Url;
use uuid::Uuid;

use crate::clock::{Clock, stamp_in_seconds};
use crate::courier::{Answer, Courier, DeliveryKind, Parcel, is_local};
use crate::faults::{Faults, Mischief};
use crate::moyasar::Keys;
use crate::moyasar::books::{Books, Change, Links, PayRefusal};
use crate::moyasar::cards::Card;
use crate::moyasar::errors::ApiError;
use crate::moyasar::invoices::Invoice;
use crate::moyasar::payments::{Payment, PaymentStatus};
use crate::moyasar::webhooks::Webhook;
use crate::operations::Operation;
use crate::options::{DEFAULT_WEBHOOK_SECRET, Options};
use crate::pager::Pager;
use crate::posthog::Posthog;
use crate::sentry::SentryInbox;

/// The account that every envelope names.
const ACCOUNT_NAME: &str = "Sandbox Store";
/// What a tampered delivery carries instead of the shared secret.
const WRONG_TOKEN: &str = "not-the-shared-secret-of-this-webhook";

/// Takes a lock. What a panicking thread left behind is still whole: every change here is a few assignments.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything there is; clones share it.
#[derive(Clone)]
pub(crate) struct World(Arc<Parts>);

/// The parts of the world.
pub(crate) struct Parts {
    pub(crate) options: Options,
    pub(crate) keys: Keys,
    pub(crate) links: Links,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) frozen: watch::Sender<bool>,
    pub(crate) requests: HashMap<Operation, AtomicU64>,
    pub(crate) books: Mutex<Books>,
    pub(crate) courier: Courier,
    pub(crate) posthog: Mutex<Posthog>,
    pub(crate) sentry: Mutex<SentryInbox>,
    pub(crate) pager: Mutex<Pager>,
}

impl Deref for World {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl World {
    pub(crate) fn new(options: Options, keys: Keys, links: Links, courier: Courier) -> Self {
        let mut books = Books::new();
        let clock = Clock::default();
        if let Some(target) = &options.webhook {
            let webhook = Webhook::verified(target.url.clone(), &target.shared_secret, clock.now());
            books.webhooks.push(webhook);
        }
        Self(Arc::new(Parts {
            keys,
            links,
            clock,
            faults: Faults::default(),
            frozen: watch::Sender::new(false),
            requests: Operation::ALL.iter().map(|one| (*one, AtomicU64::new(0))).collect(),
            books: Mutex::new(books),
            courier,
            posthog: Mutex::new(Posthog::new(options.ledger_limit)),
            sentry: Mutex::new(SentryInbox::new(options.ledger_limit)),
            pager: Mutex::new(Pager::new(options.ledger_limit)),
            options,
        }))
    }

    pub(crate) fn count_request(&self, operation: Operation) {
        if let Some(count) = self.requests.get(&operation) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn webhook_secret(&self) -> &str {
        let target = self.options.webhook.as_ref();
        target.map_or(DEFAULT_WEBHOOK_SECRET, |target| &target.shared_secret)
    }

    pub(crate) fn pay(&self, invoice_id: &str, card: &Card) -> Result<Payment, PayRefusal> {
        let twists = self.faults.take_for_payment();
        let now = self.clock.now();
        let change = lock(&self.books).pay(invoice_id, card, &twists, &self.links, now)?;
        Ok(self.tell(change))
    }

    pub(crate) fn refund(&self, id: &str, amount: Option<i64>) -> Result<Payment, ApiError> {
        let now = self.clock.now();
        self.change(id, now, |payment| payment.refund(amount, now))
    }

    pub(crate) fn capture(&self, id: &str, amount: Option<i64>) -> Result<Payment, ApiError> {
        let now = self.clock.now();
        self.change(id, now, |payment| payment.capture(amount, now))
    }

    pub(crate) fn void(&self, id: &str) -> Result<Payment, ApiError> {
        let now = self.clock.now();
        self.change(id, now, |payment| payment.void(now))
    }

    /// Any status at any time. `abandoned` is an event only: its payment stays `initiated`.
    pub(crate) fn force_status(&self, id: &str, word: &str) -> Result<Payment, ApiError> {
        let now = self.clock.now();
        let status = match word {
            "abandoned" => PaymentStatus::Initiated,
            word => PaymentStatus::from(word),
        };
        let mut change = lock(&self.books).change_payment(id, now, |payment| {
            payment.force(status, now);
            Ok(())
        })?;
        if word == "abandoned" {
            change.event = Some("payment_abandoned".to_owned());
        }
        Ok(self.tell(change))
    }

    /// Posts any body to the first registered webhook and tells what it answered.
    pub(crate) async fn forge(&self, body: Vec<u8>) -> anyhow::Result<Answer> {
        let url = lock(&self.books).webhooks.first().map(|webhook| webhook.url.clone());
        let url = url.ok_or_else(|| anyhow::anyhow!("no webhook is registered"))?;
        self.courier.post(url, body).await
    }

    /// Sends the code that a new webhook must give back.
    pub(crate) fn send_verification(&self, webhook: &Webhook, code: &str) {
        let event_id = Uuid::new_v4().to_string();
        let body = json!({
            "id": event_id,
            "type": "webhook_verification",
            "created_at": stamp_in_seconds(self.clock.now()),
            "secret_token": webhook.shared_secret,
            "account_name": ACCOUNT_NAME,
            "data": {"webhook_id": webhook.id, "verification_code": code},
        });
        if let Some(body) = raw(&body) {
            let parcel = Parcel {
                kind: DeliveryKind::Verification,
                event_id,
                event_type: "webhook_verification".to_owned(),
                webhook_id: Some(webhook.id.clone()),
                target: Some((webhook.method.clone(), webhook.url.clone())),
                body,
            };
            self.courier.send(parcel, Duration::ZERO);
        }
    }

    fn change(
        &self,
        id: &str,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Payment) -> Result<(), ApiError>,
    ) -> Result<Payment, ApiError> {
        let change = lock(&self.books).change_payment(id, now, change)?;
        Ok(self.tell(change))
    }

    /// Tells the merchant: an event to every webhook that wants it, and the callback of an invoice that became paid.
    fn tell(&self, change: Change) -> Payment {
        if let Some(event) = &change.event {
            self.announce(event, &change.payment);
        }
        if let Some(invoice) = &change.paid_invoice {
            self.call_back(invoice);
        }
        change.payment
    }

    fn announce(&self, event: &str, payment: &Payment) {
        let webhooks = lock(&self.books).webhooks.clone();
        let event_id = Uuid::new_v4().to_string();
        if webhooks.is_empty() {
            self.dispatch(&event_id, event, payment, None);
        }
        for webhook in webhooks.iter().filter(|webhook| webhook.wants(event)) {
            self.dispatch(&event_id, event, payment, Some(webhook));
        }
    }

    fn dispatch(&self, event_id: &str, event: &str, payment: &Payment, webhook: Option<&Webhook>) {
        let mischief = self.faults.take_for_delivery();
        let secret = webhook.map_or(self.webhook_secret(), |webhook| &webhook.shared_secret);
        let (mut told, mut token) = (payment.clone(), secret);
        let (mut copies, mut delay) = (1, Duration::ZERO);
        for one in &mischief {
            match one {
                Mischief::Duplicate(more) => copies += more,
                Mischief::Delay(wait) => delay += *wait,
                Mischief::WrongToken => token = WRONG_TOKEN,
                Mischief::Tamper { amount } => {
                    told.amount = *amount;
                    told.touch(payment.updated_at);
                }
                Mischief::Drop | Mischief::Reorder => (),
            }
        }
        let envelope = Envelope {
            id: event_id,
            r#type: event,
            created_at: stamp_in_seconds(self.clock.now()),
            secret_token: token,
            account_name: ACCOUNT_NAME,
            live: false,
            data: &told,
        };
        let Some(body) = raw(&envelope) else { return };
        for _ in 0..copies {
            let parcel = Parcel {
                kind: DeliveryKind::Webhook,
                event_id: event_id.to_owned(),
                event_type: event.to_owned(),
                webhook_id: webhook.map(|webhook| webhook.id.clone()),
                target: webhook.map(|webhook| (webhook.method.clone(), webhook.url.clone())),
                body: Arc::clone(&body),
            };
            if mischief.contains(&Mischief::Drop) {
                self.courier.lose(parcel);
            } else if mischief.contains(&Mischief::Reorder) {
                self.courier.hold_back(parcel);
            } else {
                self.courier.send(parcel, delay);
            }
        }
    }

    fn call_back(&self, invoice: &Invoice) {
        let Some(callback) = &invoice.callback_url else { return };
        let Ok(url) = Url::parse(callback) else { return };
        let is_known =
            lock(&self.books).webhooks.iter().any(|webhook| webhook.url.origin() == url.origin());
        if !is_local(&url) && !is_known {
            return self.courier.hold_callback(callback.clone(), json!(invoice));
        }
        if let Some(body) = raw(invoice) {
            let parcel = Parcel {
                kind: DeliveryKind::Callback,
                event_id: invoice.id.clone(),
                event_type: "invoice_paid".to_owned(),
                webhook_id: None,
                target: Some((Method::POST, url)),
                body,
            };
            self.courier.send(parcel, Duration::ZERO);
        }
    }
}

/// The envelope of every event, in the order the provider writes it.
#[derive(Serialize)]
struct Envelope<'a> {
    id: &'a str,
    r#type: &'a str,
    created_at: String,
    secret_token: &'a str,
    account_name: &'static str,
    live: bool,
    data: &'a Payment,
}

/// Our own bodies always serialise; a body that did not would be a body not sent.
fn raw(body: &impl Serialize) -> Option<Arc<RawValue>> {
    match to_raw_value(body) {
        Ok(raw) => Some(raw.into()),
        Err(error) => {
            tracing::error!(%error, "A body of the sandbox does not serialise");
            None
        }
    }
}

/// A JSON text as a value.
pub(crate) fn parsed(body: &RawValue) -> Value {
    serde_json::from_str(body.get()).unwrap_or_default()
}
