//! Take in a provider's event: durable and unique before it is answered, settled afterwards.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::clients::moyasar::Mode;
use crate::clients::moyasar::envelope::{InvalidJson, Unproved};
use crate::clients::moyasar::secrets::WebhookSecrets;
use crate::clock::Clock;
use crate::domain::webhook::Relevance;
use crate::faults;
use crate::flows::settling::settle_event::{SettleEvents, SettlingOne};
use crate::flows::webhooks::commit_events::{CommitQueue, Committed};
use crate::flows::webhooks::incoming::{Incoming, SOURCE};
use crate::flows::webhooks::quarantine::Quarantine;
use crate::queue::{Extra, Letter, Letters, Payload, PushError, Pushed, Queue};
use crate::tasks::Tasks;
use crate::wake::Wake;

pub use crate::flows::webhooks::incoming::Delivery;

/// How long settling may take in mode `sync`.
const SETTLE_WITHIN: Duration = Duration::from_secs(8);

/// What became of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// It is new and durable; the workers settle it.
    Stored,
    /// The same event is durable already.
    Duplicate,
    /// It is durable, and moves no money of ours.
    Ignored,
    /// Postgres did not confirm it; the dead-letter queue has it, durably.
    Queued,
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
    /// The provider must send it again.
    #[error("neither store took the event")]
    Unstored,
}

/// A delivery that carries our secret.
pub(crate) struct Genuine<'a>(Unproved<'a>);

/// Where events come in.
pub struct Inbox {
    pub(crate) secrets: WebhookSecrets,
    /// The mode of our key at the provider.
    pub(crate) mode: Mode,
    pub(crate) commits: CommitQueue,
    pub(crate) quarantine: Quarantine,
    pub(crate) letters: Letters,
    /// After so many attempts a letter is dead.
    pub(crate) max_retries: u32,
    /// Who settles an event in the very request that brought it: in mode `sync` only.
    pub(crate) settle_at_once: Option<SettleEvents>,
    pub(crate) clock: Clock,
    pub(crate) wake: Wake,
    pub(crate) tasks: Tasks,
}

impl Inbox {
    /// Looks whether a delivery carries our secret.
    pub(crate) fn recognise<'a>(&self, body: &'a [u8]) -> Result<Genuine<'a>, InboxError> {
        let unproved = Unproved::parse(body).map_err(|InvalidJson| InboxError::InvalidJson)?;
        if unproved.secret_token().is_some_and(|token| self.secrets.recognises(&token)) {
            return Ok(Genuine(unproved));
        }
        self.quarantine.count();
        Err(InboxError::BadSignature)
    }

    /// Offers a delivery without our secret to the quarantine, as that sender's.
    pub(crate) fn quarantine(&self, body: &[u8], sender: i64, delivery: Delivery<'_>) {
        if let Ok(unproved) = Unproved::parse(body) {
            self.quarantine.offer(&unproved, sender, delivery.request_id, self.clock.now());
        }
    }

    /// Takes a delivery in. Once this returned a [`Receipt`], the event is durable; a forged one costs
    /// next to nothing. Who hangs up changes nothing.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        Genuine(proved): Genuine<'_>,
        delivery: Delivery<'_>,
    ) -> Result<Receipt, InboxError> {
        faults::step("webhook_recognised");
        let event = Incoming::new(proved.open(), self.mode, delivery, self.clock.now());
        let inbox = Arc::clone(self);
        let taken = self.tasks.finish(async move { inbox.take_in(&event).await }).await;
        taken.unwrap_or_else(|panic| {
            tracing::error!(panic, "Taking an event in panicked: {panic}");
            Err(InboxError::Unstored)
        })
    }

    async fn take_in(&self, event: &Arc<Incoming>) -> Result<Receipt, InboxError> {
        let received = match self.commits.commit(Arc::clone(event)).await {
            Committed::New => self.follow_up(event).await,
            Committed::Known(_) => Received::Duplicate,
            Committed::Unconfirmed => {
                self.queue(event).await.map_err(|error| {
                    // The provider sends it again. Nobody is called for each one: health says it.
                    tracing::warn!(%error, "An event was stored nowhere: {error}");
                    InboxError::Unstored
                })?;
                Received::Queued
            }
        };
        faults::step("webhook_stored");
        let event_type = event.envelope.event_type.clone().unwrap_or_default();
        Ok(Receipt { received, event_id: event.key.clone(), event_type })
    }

    /// What a new event brings about.
    async fn follow_up(&self, event: &Incoming) -> Received {
        match event.relevance {
            Relevance::Processed => {
                match &self.settle_at_once {
                    Some(settle) => settle_now(settle, event.id).await,
                    None => self.wake.events.notify_one(),
                }
                Received::Stored
            }
            Relevance::Ignored => {
                let code =
                    event.envelope.data.as_ref().and_then(|it| it.verification_code.as_deref());
                if let Some(code) = code {
                    tracing::info!(webhook.code = code, "Moyasar verifies a webhook with a code");
                }
                Received::Ignored
            }
        }
    }

    /// The second store: the whole event, under an id that makes it one letter however often it comes.
    async fn queue(&self, event: &Incoming) -> Result<(), PushError> {
        let now = self.clock.now();
        let letter = Letter {
            id: format!("{SOURCE}:{}", event.key),
            source: SOURCE.to_owned(),
            error: "Postgres did not confirm the event".to_owned(),
            error_class: "storage".to_owned(),
            attempt: 0,
            max_retries: self.max_retries,
            created_at: now,
            last_attempt_at: None,
            next_attempt_at: now,
            request_id: event.request_id.clone(),
            trace_id: event.trace_id.clone(),
            payload: Payload::Event {
                event_id: event.key.clone(),
                event_type: event.envelope.event_type.clone(),
                received_at: event.received_at,
                // It was read as UTF-8, and what was blanked is ASCII.
                body: String::from_utf8_lossy(&event.envelope.redacted).into_owned(),
            },
            body_sha256: Some(event.envelope.sha256_hex()),
            is_changed: false,
            original: None,
            extra: Extra::default(),
        };
        faults::step("letter_unpushed");
        match self.letters.push(Queue::Webhooks, &letter, now).await? {
            Pushed::New | Pushed::Known | Pushed::Deleted => faults::step("letter_pushed"),
        }
        Ok(())
    }
}

/// Whatever comes of it, the event is stored; what is unfinished stays so.
async fn settle_now(settle: &SettleEvents, id: Uuid) {
    faults::step("sync_unsettled");
    let settling = async {
        let _beside_others = settle.company.join().await;
        settle.settle_one(id).await
    };
    match tokio::time::timeout(SETTLE_WITHIN, settling).await {
        Ok(Ok(SettlingOne::HasEnded | SettlingOne::IsInHand | SettlingOne::Tried(_))) => (),
        Ok(Err(error)) => {
            tracing::warn!(event.id = %id, %error, "An event was not settled at once: {error}");
        }
        Err(_) => tracing::warn!(event.id = %id, "An event was not settled within its request"),
    }
    faults::step("sync_settled");
}
