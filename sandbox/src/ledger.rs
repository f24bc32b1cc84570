//! A snapshot of everything that happened, for tests and for whoever asks over HTTP.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::Serialize;
use serde_json::Value;

use crate::courier::{Delivery, DeliveryKind, DeliveryStatus, HeldCallback};
use crate::moyasar::invoices::Invoice;
use crate::moyasar::payments::Payment;
use crate::posthog::PosthogEvent;
use crate::sentry::SentryItem;
use crate::world::{World, lock, parsed};

/// Everything that happened, as it was at one moment. Deliveries and events beyond the ledger's limit are forgotten.
#[derive(Debug, Clone, Serialize)]
pub struct Ledger {
    requests: BTreeMap<&'static str, u64>,
    invoices: Vec<Invoice>,
    payments: Vec<Payment>,
    deliveries: Vec<Delivery>,
    held_webhooks: Vec<Value>,
    held_callbacks: Vec<HeldCallback>,
    posthog_events: Vec<PosthogEvent>,
    sentry_items: Vec<SentryItem>,
    alerts: Vec<Value>,
}

impl Ledger {
    pub(crate) fn of(world: &World) -> Self {
        let (invoices, payments) = {
            let books = lock(&world.books);
            (books.all_invoices(world.clock.now()), books.all_payments())
        };
        Self {
            requests: requests(world),
            invoices,
            payments,
            deliveries: world.courier.deliveries(),
            held_webhooks: world.courier.held_webhooks().iter().map(|body| parsed(body)).collect(),
            held_callbacks: world.courier.held_callbacks(),
            posthog_events: lock(&world.posthog).events(),
            sentry_items: lock(&world.sentry).items(),
            alerts: lock(&world.pager).messages(),
        }
    }

    /// How often an operation was asked for, refused and failed requests included.
    ///
    /// # Panics
    ///
    /// There is no operation of that name: a count of what cannot be asked for would always be 0.
    pub fn requests(&self, operation: impl AsRef<str>) -> u64 {
        let name = operation.as_ref();
        let count = self.requests.get(name).copied();
        assert!(count.is_some(), "there is no operation {name:?}");
        count.unwrap_or_default()
    }

    /// Every invoice, oldest first.
    pub fn invoices(&self) -> &[Invoice] {
        &self.invoices
    }

    /// Every payment, oldest first.
    pub fn payments(&self) -> &[Payment] {
        &self.payments
    }

    /// Every delivery with its attempts, oldest first.
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// The deliveries of events to webhooks.
    pub fn webhooks(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.iter().filter(|delivery| delivery.kind == DeliveryKind::Webhook)
    }

    /// Every distinct event that PostHog took, oldest first.
    pub fn posthog_events(&self) -> &[PosthogEvent] {
        &self.posthog_events
    }

    /// The distinct events of one name.
    pub fn posthog_events_named(&self, name: &str) -> impl Iterator<Item = &PosthogEvent> {
        self.posthog_events.iter().filter(move |event| event.event == name)
    }

    /// Every envelope item that Sentry took, oldest first.
    pub fn sentry_items(&self) -> &[SentryItem] {
        &self.sentry_items
    }

    /// The error events among them.
    pub fn sentry_events(&self) -> impl Iterator<Item = &SentryItem> {
        self.sentry_items.iter().filter(|item| item.kind == "event")
    }

    /// Every message that whoever is on call was sent, oldest first.
    pub fn alerts(&self) -> &[Value] {
        &self.alerts
    }
}

/// Only the numbers: cheap to read while a load test runs.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    /// Requests per operation.
    pub requests: BTreeMap<&'static str, u64>,
    /// Invoices created.
    pub invoices: u64,
    /// Payments attempted.
    pub payments: u64,
    /// Deliveries begun.
    pub deliveries: u64,
    /// Those still remembered, by how they stand.
    pub deliveries_by_status: BTreeMap<DeliveryStatus, u64>,
    /// Distinct PostHog events.
    pub posthog_events: u64,
    /// Copies of PostHog events beyond the first.
    pub posthog_duplicates: u64,
    /// Sentry envelope items.
    pub sentry_items: u64,
}

impl Counts {
    pub(crate) fn of(world: &World) -> Self {
        let (invoices, payments) = lock(&world.books).totals();
        let (deliveries, by_status) = world.courier.count_deliveries();
        let (posthog_events, posthog_duplicates) = lock(&world.posthog).totals();
        Self {
            requests: requests(world),
            invoices,
            payments,
            deliveries,
            deliveries_by_status: by_status,
            posthog_events,
            posthog_duplicates,
            sentry_items: lock(&world.sentry).total(),
        }
    }
}

fn requests(world: &World) -> BTreeMap<&'static str, u64> {
    world
        .requests
        .iter()
        .map(|(operation, count)| (operation.name(), count.load(Ordering::Relaxed)))
        .collect()
}
