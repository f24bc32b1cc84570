//! Settle a provider's event: ask the provider what its payment is now, and believe only that.
//!
//! The event is claimed with a lease in one statement, the payment is fetched without any
//! transaction, and everything that follows is written in a second one that compares the lease.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::clients::ClientError;
use crate::clients::moyasar::{Moyasar, Payment};
use crate::clock::Clock;
use crate::db;
use crate::db::reviews::NewReview;
use crate::db::webhook_events::ClaimedEvent;
use crate::domain::funnel::Analytics;
use crate::faults;
use crate::flows::settle_payment::{Context, settle_payment};
use crate::tasks::guarded;
use crate::wake::Wake;

/// Waits after the first failures of an event; then it is given up.
const BACKOFF: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
];

/// How soon the provider is asked again when it did not answer.
const OUTAGE_PAUSE: Duration = Duration::from_secs(5);

/// What settling events needs.
#[derive(Clone)]
pub struct SettleEvents {
    pub db: PgPool,
    pub moyasar: Moyasar,
    pub analytics: Analytics,
    /// How long an event belongs to whoever claimed it.
    pub lease: TimeDelta,
    pub clock: Clock,
    pub wake: Wake,
}

/// Why an event was not settled.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    /// Somebody else's trouble: not an attempt.
    #[error("the payment provider did not answer: {0}")]
    Outage(#[source] ClientError),
    /// The event itself cannot be settled: an attempt.
    #[error("the payment provider refused: {0}")]
    Refused(#[source] ClientError),
    /// Perhaps a key of another account, or a forged event: the event stays, whoever is right.
    #[error("the provider does not know this payment")]
    UnknownPayment,
    #[error("the provider answered with another payment than was asked for")]
    WrongPayment,
    #[error("the database failed: {0}")]
    Storage(#[from] sqlx::Error),
    #[error("settling it panicked: {0}")]
    Panic(String),
}

impl SettleEvents {
    /// Takes up to `limit` due events.
    pub async fn claim(&self, limit: i64) -> sqlx::Result<(Uuid, Vec<ClaimedEvent>)> {
        let (token, now) = (Uuid::new_v4(), self.clock.now());
        let events =
            db::webhook_events::claim(&self.db, token, now, now + self.lease, limit).await?;
        if !events.is_empty() {
            faults::step("event_claimed");
        }
        Ok((token, events))
    }

    /// Settles one claimed event or gives it back; whatever happens, it is not lost. Tells whether
    /// the provider was there, because without it the next event fares no better.
    pub async fn settle(&self, token: Uuid, event: ClaimedEvent) -> sqlx::Result<bool> {
        let settled = guarded(self.try_to_settle(token, &event)).await;
        match settled.map_err(Unsettled::Panic).flatten() {
            Ok(()) => {
                self.wake.outbox.notify_one();
                Ok(true)
            }
            Err(Unsettled::Outage(error)) => {
                self.wait_out(token, &event, &error).await.map(|()| false)
            }
            Err(Unsettled::Storage(error)) if db::is_outage(&error) => {
                // If not even that can be written now, the lease ends by itself.
                drop(self.give_back(token, &event, "storage").await);
                Err(error)
            }
            Err(error) => self.count_failure(token, &event, &error).await.map(|()| true),
        }
    }

    async fn try_to_settle(&self, token: Uuid, event: &ClaimedEvent) -> Result<(), Unsettled> {
        let Some(payment_id) = event.payment_id.as_deref() else {
            return self
                .ask_person(token, event, "malformed_event", "the event names no payment")
                .await;
        };
        let payment = match self.moyasar.fetch_payment(payment_id).await {
            Ok(payment) if payment.id == payment_id => payment,
            Ok(_) => return Err(Unsettled::WrongPayment),
            Err(ClientError::Status { status, .. }) if status.as_u16() == 404 => {
                return Err(Unsettled::UnknownPayment);
            }
            // A key that was revoked says nothing about any payment: all of them wait for the next.
            Err(error) if error.is_answer() && !error.is_denied() => {
                return Err(Unsettled::Refused(error));
            }
            Err(error) => return Err(Unsettled::Outage(error)),
        };
        faults::step("payment_fetched");
        self.write(token, event, &payment).await?;
        faults::step("settlement_saved");
        Ok(())
    }

    /// Everything that the payment brings about, and the end of the event, in one transaction.
    async fn write(
        &self,
        token: Uuid,
        event: &ClaimedEvent,
        payment: &Payment,
    ) -> sqlx::Result<()> {
        let now = self.clock.now();
        let context = Context {
            analytics: self.analytics,
            event_id: Some(event.id),
            request_id: &event.request_id,
            now,
        };
        let mut tx = self.db.begin().await?;
        let outcome = settle_payment(&mut tx, payment, &event.body, context).await?;
        if db::webhook_events::finish(&mut tx, event.id, token, outcome, now).await? {
            faults::step("settlement_unsaved");
            tx.commit().await
        } else {
            tracing::warn!(event.id = %event.id, "An event was settled by somebody else meanwhile");
            tx.rollback().await
        }
    }

    /// Ends an event that no payment of ours belongs to.
    async fn ask_person(
        &self,
        token: Uuid,
        event: &ClaimedEvent,
        kind: &str,
        difference: &str,
    ) -> Result<(), Unsettled> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        db::reviews::insert(&mut *tx, &self.question(event, kind, difference)).await?;
        if db::webhook_events::finish(&mut tx, event.id, token, kind, now).await? {
            tx.commit().await?;
            tracing::error!(event.id = %event.id, kind, "A payment needs a person: {difference}");
        } else {
            tx.rollback().await?;
        }
        Ok(())
    }

    /// What a person is asked about an event.
    fn question<'a>(
        &self,
        event: &'a ClaimedEvent,
        kind: &'a str,
        difference: &'a str,
    ) -> NewReview<'a> {
        NewReview {
            kind,
            payment_id: event.payment_id.as_deref(),
            checkout_id: None,
            // Of a payment one is asked once, however many events it has.
            event_id: event.payment_id.is_none().then_some(event.id),
            difference,
            opened_at: self.clock.now(),
        }
    }

    /// Gives the event back without counting an attempt.
    async fn wait_out(
        &self,
        token: Uuid,
        event: &ClaimedEvent,
        error: &ClientError,
    ) -> sqlx::Result<()> {
        let pause = match error {
            ClientError::BreakerOpen { retry_after, .. } => {
                (*retry_after).max(Duration::from_secs(1))
            }
            ClientError::Passive { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Status { .. }
            | ClientError::Unreadable { .. } => OUTAGE_PAUSE,
        };
        let next = after(self.clock.now(), pause);
        db::webhook_events::release(&self.db, event.id, token, event.attempts, error.class(), next)
            .await
    }

    /// Gives the event back without counting an attempt, because Postgres failed.
    async fn give_back(&self, token: Uuid, event: &ClaimedEvent, error: &str) -> sqlx::Result<()> {
        let next = after(self.clock.now(), OUTAGE_PAUSE);
        let (attempts, id) = (event.attempts, event.id);
        let release = db::webhook_events::release(&self.db, id, token, attempts, error, next);
        db::in_time(release).await
    }

    /// Counts a failed attempt; the last one gives the event up, and asks a person where nobody else
    /// can know more.
    async fn count_failure(
        &self,
        token: Uuid,
        event: &ClaimedEvent,
        error: &Unsettled,
    ) -> sqlx::Result<()> {
        let text = error.to_string();
        let attempts = event.attempts + 1;
        let failures = usize::try_from(event.attempts).unwrap_or_default();
        let Some(pause) = BACKOFF.get(failures) else {
            let kind = match error {
                Unsettled::UnknownPayment => Some("unknown_payment"),
                Unsettled::WrongPayment => Some("wrong_payment"),
                Unsettled::Outage(_)
                | Unsettled::Refused(_)
                | Unsettled::Storage(_)
                | Unsettled::Panic(_) => None,
            };
            let mut tx = self.db.begin().await?;
            if let Some(kind) = kind {
                db::reviews::insert(&mut *tx, &self.question(event, kind, &text)).await?;
            }
            db::webhook_events::fail(&mut *tx, event.id, token, attempts, &text).await?;
            tx.commit().await?;
            tracing::error!(event.id = %event.id, error = text, "A webhook event was given up: {text}");
            return Ok(());
        };
        tracing::warn!(event.id = %event.id, attempts, error = text, "An event failed: {text}");
        let next = after(self.clock.now(), *pause);
        db::webhook_events::release(&self.db, event.id, token, attempts, &text, next).await
    }
}

/// `pause` later, ±20 %, so that what failed together does not come back together.
fn after(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    let percent = fastrand::u32(80..=120);
    now + pause * percent / 100
}
