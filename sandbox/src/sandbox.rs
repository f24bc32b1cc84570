//! The handle that tests and the binary hold: starts the listener, and does from inside what the world does from outside.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::header::AUTHORIZATION;
use axum::middleware::from_fn_with_state;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Client;
use reqwest::header::HeaderValue;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::courier::{Answer, Courier, HeldCallback};
use crate::faults::{Fault, FaultId};
use crate::ledger::{Counts, Ledger};
use crate::moyasar::Keys;
use crate::moyasar::books::{Links, PayRefusal};
use crate::moyasar::cards::Card;
use crate::moyasar::errors::ApiError;
use crate::moyasar::invoices::Invoice;
use crate::moyasar::payments::Payment;
use crate::moyasar::webhooks::Webhook;
use crate::options::Options;
use crate::sentry::{PROJECT, PUBLIC_KEY};
use crate::world::{World, lock, parsed};
use crate::{control, moyasar, pager, posthog, sentry, server};

/// A running sandbox. Clones are the same one; dropping the last stops its listener and its deliveries.
#[derive(Clone)]
pub struct Sandbox {
    world: World,
    _stop: Arc<DropGuard>,
}

impl Sandbox {
    /// Listens and answers from the moment it returns.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        let base = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
        let links = Links { api: base.join("v1/")?, base };
        let stop = CancellationToken::new();
        let http = Courier::http_client()?;
        let keys = Keys {
            secret: basic_auth(&http, &links.api, &options.secret_key)?,
            publishable: basic_auth(&http, &links.api, &options.publishable_key)?,
        };
        let (scale, limit) = (options.time_scale, options.ledger_limit);
        let courier = Courier::new(http, scale, limit, stop.clone())?;
        let world = World::new(options, keys, links, courier);
        let frozen = world.frozen.subscribe();
        tokio::spawn(server::serve(listener, router(&world), frozen, stop.clone()));
        Ok(Self { world, _stop: Arc::new(stop.drop_guard()) })
    }

    /// `http://127.0.0.1:PORT/`, where the payment page and the control routes are.
    pub fn base_url(&self) -> Url {
        self.world.links.base.clone()
    }

    /// `http://127.0.0.1:PORT/v1/`.
    pub fn moyasar_url(&self) -> Url {
        self.world.links.api.clone()
    }

    /// The host to which PostHog's client appends `/batch/`.
    pub fn posthog_url(&self) -> Url {
        self.base_url()
    }

    /// A DSN that Sentry's client accepts.
    pub fn sentry_dsn(&self) -> String {
        let base = &self.world.links.base;
        let authority = base.as_str().trim_start_matches("http://");
        format!("http://{PUBLIC_KEY}@{authority}{PROJECT}")
    }

    /// Where whoever is on call is told.
    pub fn alert_url(&self) -> String {
        format!("{}alerts", self.world.links.base)
    }

    /// Moyasar's secret key.
    pub fn secret_key(&self) -> &str {
        &self.world.options.secret_key
    }

    /// PostHog's project key.
    pub fn posthog_key(&self) -> &str {
        &self.world.options.posthog_key
    }

    /// The shared secret of the webhook in the options, and of every held envelope.
    pub fn webhook_secret(&self) -> &str {
        self.world.webhook_secret()
    }

    /// Registers a verified webhook for all events. What is held already stays held.
    pub fn register_webhook(&self, url: Url, shared_secret: &str) {
        let webhook = Webhook::verified(url, shared_secret, self.world.clock.now());
        lock(&self.world.books).webhooks.push(webhook);
    }

    /// Arms a fault.
    pub fn fault(&self, fault: Fault) -> FaultId {
        self.world.faults.arm(fault)
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// From now on requests are accepted and not answered, the control routes excepted. Deliveries go on.
    pub fn freeze(&self) {
        self.world.frozen.send_replace(true);
    }

    /// Ends a freeze: whoever still waits is answered.
    pub fn thaw(&self) {
        self.world.frozen.send_replace(false);
    }

    /// Moves the provider's time of day; the waits between retries keep their own time.
    pub fn set_now(&self, now: DateTime<Utc>) {
        self.world.clock.set(now);
    }

    /// Moves the provider's time of day forward.
    pub fn advance(&self, by: Duration) {
        self.world.clock.advance(TimeDelta::from_std(by).unwrap_or(TimeDelta::MAX));
    }

    /// Pays an invoice as its page does. A declined payment is an answer, not an error.
    #[expect(
        clippy::unused_async,
        reason = "a payment is awaited by callers like the request it stands for"
    )]
    pub async fn pay(&self, invoice_id: &str, card: Card) -> anyhow::Result<Payment> {
        self.world.pay(invoice_id, &card).map_err(|refusal| match refusal {
            PayRefusal::NoSuchInvoice => anyhow::anyhow!("no invoice {invoice_id}"),
            PayRefusal::NotPayable(status) => {
                anyhow::anyhow!("the invoice is {}", status.as_str())
            }
            PayRefusal::BadCard(mistakes) => anyhow::anyhow!("the card is wrong: {mistakes:?}"),
        })
    }

    /// Refunds at the dashboard; no amount means all that is left.
    pub fn refund(&self, payment_id: &str, amount: Option<i64>) -> anyhow::Result<Payment> {
        self.world.refund(payment_id, amount).map_err(|error| refused(&error))
    }

    /// Voids at the dashboard.
    pub fn void(&self, payment_id: &str) -> anyhow::Result<Payment> {
        self.world.void(payment_id).map_err(|error| refused(&error))
    }

    /// Captures at the dashboard; no amount means all that is held.
    pub fn capture(&self, payment_id: &str, amount: Option<i64>) -> anyhow::Result<Payment> {
        self.world.capture(payment_id, amount).map_err(|error| refused(&error))
    }

    /// Puts a payment into any state, known or not, and fires the event of that name.
    pub fn set_payment_status(&self, payment_id: &str, status: &str) -> anyhow::Result<Payment> {
        self.world.force_status(payment_id, status).map_err(|error| refused(&error))
    }

    /// Makes an invoice a second time, as if something on the way had sent its request twice.
    pub fn repeat_invoice(&self, invoice_id: &str) -> anyhow::Result<Invoice> {
        let (now, links) = (self.world.clock.now(), &self.world.links);
        let repeated = lock(&self.world.books).repeat_invoice(invoice_id, links, now);
        repeated.with_context(|| format!("no invoice {invoice_id}"))
    }

    /// Ends an invoice's time now.
    pub fn expire(&self, invoice_id: &str) -> anyhow::Result<Invoice> {
        let now = self.world.clock.now();
        lock(&self.world.books).expire_invoice(invoice_id, now).map_err(|error| refused(&error))
    }

    /// Everything that happened so far.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.world)
    }

    /// Only the numbers.
    pub fn counts(&self) -> Counts {
        Counts::of(&self.world)
    }

    /// The envelopes that pile up here while no webhook is registered, oldest first.
    pub fn held_webhooks(&self) -> Vec<Value> {
        self.world.courier.held_webhooks().iter().map(|body| parsed(body)).collect()
    }

    /// The same, and forgets them.
    pub fn take_held_webhooks(&self) -> Vec<Value> {
        self.world.courier.take_held_webhooks().iter().map(|body| parsed(body)).collect()
    }

    /// The callbacks that were not sent because their host is not this machine.
    pub fn held_callbacks(&self) -> Vec<HeldCallback> {
        self.world.courier.held_callbacks()
    }

    /// Makes every waiting delivery due now.
    pub fn flush_webhooks(&self) {
        self.world.courier.flush();
    }

    /// Posts any body to the first registered webhook, at once.
    pub async fn forge(&self, body: impl Into<Vec<u8>>) -> anyhow::Result<Answer> {
        self.world.forge(body.into()).await
    }

    /// Waits until no delivery is on the wire or due. Retries that wait for their time do not count.
    pub async fn settled(&self) {
        self.world.courier.settled().await;
    }

    /// Waits until every delivery has arrived or was dropped, retries included.
    pub async fn concluded(&self) {
        self.world.courier.concluded().await;
    }
}

fn router(world: &World) -> Router {
    let played = moyasar::routes(world)
        .merge(posthog::routes())
        .merge(sentry::routes())
        .merge(pager::routes());
    let played = played.route_layer(from_fn_with_state(world.clone(), control::meet));
    moyasar::with_request_ids(played).merge(control::routes()).with_state(world.clone())
}

/// The header that a client with this key sends; built by a client, so that both encode alike.
fn basic_auth(http: &Client, url: &Url, key: &str) -> anyhow::Result<HeaderValue> {
    let request = http.get(url.clone()).basic_auth(key, Some("")).build()?;
    request.headers().get(AUTHORIZATION).cloned().context("no Authorization header was built")
}

fn refused(error: &ApiError) -> anyhow::Error {
    anyhow::anyhow!("{}", error.body.message)
}
