//! Take in a provider's event: durable and unique before it is answered, settled afterwards.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::clients::moyasar::Mode;
use crate::clients::moyasar::envelope::{Envelope, InvalidJson, Live};
use crate::clients::moyasar::secrets::WebhookSecrets;
use crate::clock::Clock;
use crate::db;
use crate::db::reviews::NewReview;
use crate::db::webhook_events::NewEvent;
use crate::domain::webhook::{Relevance, relevance};
use crate::faults;
use crate::wake::Wake;

/// How long Postgres gets to confirm an event before the provider is asked to send it again.
const STORE_WITHIN: Duration = Duration::from_secs(1);

const SOURCE: &str = "moyasar";

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// It is new and durable; the workers settle it.
    Stored,
    /// The same event is durable already.
    Duplicate,
    /// It is durable, and moves no money of ours.
    Ignored,
}

/// A delivery that was taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// What became of it.
    pub received: Received,
    /// The provider's id of the event, or what stands for it.
    pub event_id: String,
    /// The event's type; empty where it has none.
    pub event_type: String,
}

/// Why a delivery was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    #[error("the body is not a JSON object")]
    InvalidJson,
    #[error("the body does not carry our secret")]
    BadSignature,
    #[error("the database did not confirm the event within a second")]
    TimedOut,
    #[error("the database failed")]
    Storage(#[from] sqlx::Error),
}

/// Whose delivery it was.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    pub request_id: &'a str,
    pub trace_id: Option<&'a str>,
}

fn payment_id(envelope: &Envelope) -> Option<&str> {
    envelope.data.as_ref()?.payment_id.as_deref()
}

/// Where events come in.
#[derive(Clone)]
pub struct Inbox {
    pub db: PgPool,
    pub secrets: WebhookSecrets,
    /// The mode of our key at the provider.
    pub mode: Mode,
    pub clock: Clock,
    pub wake: Wake,
}

impl Inbox {
    /// Takes a delivery in. Once this returned a [`Receipt`], the event is durable; an error of the
    /// store means that the provider must send it again.
    pub async fn receive(
        &self,
        body: &[u8],
        delivery: Delivery<'_>,
    ) -> Result<Receipt, InboxError> {
        let envelope = Envelope::parse(body).map_err(|InvalidJson| InboxError::InvalidJson)?;
        if !envelope.secret_token.as_ref().is_some_and(|token| self.secrets.recognises(token)) {
            return Err(InboxError::BadSignature);
        }
        faults::step("webhook_recognised");
        let stored = tokio::time::timeout(STORE_WITHIN, self.store(&envelope, delivery));
        let received = stored.await.map_err(|_| InboxError::TimedOut)??;
        faults::step("webhook_stored");
        if received == Received::Stored {
            self.wake.events.notify_one();
        }
        let event_type = envelope.event_type.clone().unwrap_or_default();
        Ok(Receipt { received, event_id: envelope.key(), event_type })
    }

    async fn store(
        &self,
        envelope: &Envelope,
        delivery: Delivery<'_>,
    ) -> Result<Received, sqlx::Error> {
        let now = self.clock.now();
        let is_relevant = relevance(envelope.event_type.as_deref()) == Relevance::Processed;
        let flaw = if is_relevant { self.flaw(envelope) } else { None };
        let key = envelope.key();
        let event = NewEvent {
            id: Uuid::now_v7(),
            source: SOURCE,
            dedupe_key: &key,
            event_type: envelope.event_type.as_deref(),
            payment_id: payment_id(envelope),
            body: &envelope.redacted,
            body_sha256: &envelope.sha256,
            is_settled: !is_relevant || flaw.is_some(),
            outcome: flaw.map(|(kind, _)| kind),
            request_id: delivery.request_id,
            trace_id: delivery.trace_id,
            received_at: now,
        };
        let is_new = match flaw {
            None => db::webhook_events::insert(&self.db, &event).await?,
            Some((kind, difference)) => self.store_flawed(&event, kind, difference).await?,
        };
        match (is_new, is_relevant) {
            (true, true) => Ok(Received::Stored),
            (true, false) => Ok(Received::Ignored),
            (false, _) => {
                self.compare_with_stored(&key, envelope, now).await?;
                Ok(Received::Duplicate)
            }
        }
    }

    /// Why an event that should move money cannot, and what differs.
    fn flaw(&self, envelope: &Envelope) -> Option<(&'static str, &'static str)> {
        match (envelope.live, self.mode) {
            (Live::Absent, _) => (),
            (Live::Says(live), ours) if live == ours => (),
            (Live::Says(_), Mode::Live) => {
                return Some(("mode_mismatch", "a test event reached a live account"));
            }
            (Live::Says(_), Mode::Test) => {
                return Some(("mode_mismatch", "a live event reached a test account"));
            }
            (Live::Unreadable, _) => {
                return Some(("mode_mismatch", "the event does not say which mode it is of"));
            }
        }
        let subject = envelope.data.as_ref();
        let names_payment = subject.is_some_and(|subject| subject.payment_id.is_some());
        (!names_payment).then_some(("malformed_event", "the event names no payment"))
    }

    /// An event that cannot be settled is stored together with the question to a person.
    async fn store_flawed(
        &self,
        event: &NewEvent<'_>,
        kind: &'static str,
        difference: &str,
    ) -> sqlx::Result<bool> {
        let mut tx = self.db.begin().await?;
        let is_new = db::webhook_events::insert(&mut *tx, event).await?;
        if is_new {
            let review = NewReview {
                kind,
                payment_id: event.payment_id,
                checkout_id: None,
                event_id: Some(event.id),
                difference,
                opened_at: event.received_at,
            };
            db::reviews::insert(&mut *tx, &review).await?;
        }
        tx.commit().await?;
        Ok(is_new)
    }

    /// The same id with another body is somebody's mistake or somebody's attack: a person is asked.
    async fn compare_with_stored(
        &self,
        key: &str,
        envelope: &Envelope,
        now: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        let stored = db::webhook_events::get(&self.db, SOURCE, key).await?;
        if stored.body_sha256 == envelope.sha256 {
            return Ok(());
        }
        let review = NewReview {
            kind: "event_changed",
            payment_id: payment_id(envelope),
            checkout_id: None,
            event_id: Some(stored.id),
            difference: "the event came again with another body",
            opened_at: now,
        };
        if db::reviews::insert(&self.db, &review).await? {
            tracing::error!(event.id = %stored.id, "A webhook event came again with another body");
        }
        Ok(())
    }
}
