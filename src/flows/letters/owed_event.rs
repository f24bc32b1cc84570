//! What the queue `webhooks` owes: an event that Postgres could not take, or one that it has and that
//! could not be settled. Both end by the same code as a live event.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::{PgPool, PgTransaction};
use uuid::Uuid;

use crate::clients::moyasar::Mode;
use crate::clients::moyasar::envelope::Envelope;
use crate::clock::Clock;
use crate::db;
use crate::db::dead_letters::Standing;
use crate::db::webhook_leases::ClaimedEvent;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};
use crate::faults;
use crate::flows::health::check_sentry::OPERATIONS;
use crate::flows::letters::handler::{
    Done, Foreseen, ForeseenEvent, Handler, NOT_CONFIGURED, Undone,
};
use crate::flows::settling::attempt::{self, Prepared, Unsettled};
use crate::flows::settling::settle_event::{SettleEvents, Settling, SettlingOne};
use crate::flows::webhooks::incoming::{Delivery, Incoming, SOURCE};
use crate::flows::webhooks::store_events::{Stored, StoredEvents, ask_about_change, store_events};
use crate::queue::{Letter, Payload, Queue};
use crate::wake::Wake;

/// What settling them needs.
#[derive(Clone)]
pub(crate) struct OwedEvents {
    pub db: PgPool,
    /// Without a key at the provider nothing can be settled.
    pub settle: Option<SettleEvents>,
    /// Whether workers settle what is stored; in mode `sync` nobody does but whoever replays.
    pub has_workers: bool,
    /// The mode of that key.
    pub mode: Mode,
    pub analytics: Analytics,
    pub clock: Clock,
    pub wake: Wake,
}

/// What a letter is about.
enum Owed {
    /// An event, to be written to where it should have gone.
    Incoming(Arc<Incoming>),
    /// The row of one that is there.
    Row(Uuid),
}

impl Handler for OwedEvents {
    fn knows(&self, payload: &Payload) -> bool {
        matches!(payload, Payload::Event { .. } | Payload::StoredEvent { .. })
    }

    fn settle<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Done, Undone>> {
        self.settle_letter(letter).boxed()
    }

    fn rehearse<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Foreseen, Undone>> {
        self.rehearse_letter(letter).boxed()
    }
}

impl OwedEvents {
    /// Stores the event unless it is there, and settles it unless the workers have it.
    async fn settle_letter(&self, letter: &Letter) -> Result<Done, Undone> {
        let (id, is_new) = match self.read(letter)? {
            Owed::Row(id) => (id, false),
            Owed::Incoming(event) => self.store(letter, &event).await?,
        };
        let event = self.find(id).await?;
        if letter.is_changed {
            let payment_id = event.payment_id.as_deref();
            let asked = ask_about_change(&self.db, &self.wake, id, payment_id, self.clock.now());
            db::in_time(asked).await?;
        }
        match event.standing {
            Standing::Failed => self.settle_now(id).await,
            Standing::Received if !self.has_workers => self.settle_now(id).await,
            // What is new is from here on the workers'.
            Standing::Received | Standing::Ended if is_new => Ok(Done::Here),
            Standing::Received | Standing::Ended => Ok(Done::Elsewhere),
        }
    }

    /// What would come of it: stored, settled and rolled back, with what the provider says now.
    async fn rehearse_letter(&self, letter: &Letter) -> Result<Foreseen, Undone> {
        match self.read(letter)? {
            Owed::Row(id) => self.rehearse_stored(id).await,
            Owed::Incoming(event) => {
                let keys = [event.key.as_str()];
                let known = db::webhook_events::list(&self.db, SOURCE, &keys);
                match db::in_time(known).await?.first() {
                    Some(stored) => self.rehearse_stored(stored.id).await,
                    None => self.rehearse_new(letter, &event).await,
                }
            }
        }
    }

    fn read(&self, letter: &Letter) -> Result<Owed, Undone> {
        match &letter.payload {
            Payload::StoredEvent { row_id } => Ok(Owed::Row(*row_id)),
            Payload::Event { body, received_at, .. } => {
                let envelope = Envelope::parse(body.as_bytes())
                    .map_err(|illegible| Undone::failed("unreadable", illegible.to_string()))?;
                let (request_id, trace_id) = (&letter.request_id, letter.trace_id.as_deref());
                let delivery = Delivery { request_id, trace_id };
                // A predecessor wrote the body anew: there is no digest of it.
                let judge =
                    if letter.body_sha256.is_some() { Incoming::new } else { Incoming::copied };
                Ok(Owed::Incoming(judge(envelope, self.mode, delivery, *received_at)))
            }
            Payload::OutboxRow { .. } | Payload::Job { .. } => {
                Err(Undone::failed("misplaced", "the letter is about no event of a provider"))
            }
        }
    }

    async fn find(&self, id: Uuid) -> Result<db::dead_letters::OwedEvent, Undone> {
        let event = db::in_time(db::dead_letters::find(&self.db, id)).await?;
        event.ok_or_else(|| Undone::failed("row_missing", "the event is not in the database"))
    }

    /// Writes an event to where it should have gone, unless it is there; tells its id, and whether it
    /// was not there.
    async fn store(&self, letter: &Letter, event: &Incoming) -> Result<(Uuid, bool), Undone> {
        let transaction = async {
            let mut tx = self.db.begin().await?;
            let stored = self.apply(&mut tx, letter, event).await?;
            faults::step("letter_unstored");
            tx.commit().await?;
            faults::step("letter_stored");
            Ok(stored)
        };
        let stored = db::in_time(transaction).await?;
        let StoredEvents { outcomes, questions } = stored;
        questions.announce(&self.wake);
        self.wake.outbox.notify_one();
        self.wake.events.notify_one();
        match outcomes.first() {
            Some(Stored::New) => Ok((event.id, true)),
            Some(Stored::Known(id)) => Ok((*id, false)),
            None => Err(Undone::failed("storage", "no outcome")),
        }
    }

    /// The event and the note that it was in the queue.
    async fn apply(
        &self,
        tx: &mut PgTransaction<'_>,
        letter: &Letter,
        event: &Incoming,
    ) -> sqlx::Result<StoredEvents> {
        let stored = store_events(tx, &[event]).await?;
        let pushed =
            Occurrence::once(FunnelEvent::DlqPushed, OPERATIONS, &letter.id, self.clock.now())
                .with("queue", Queue::Webhooks.name())
                .with("error_class", letter.error_class.as_str());
        db::outbox::insert(tx, &pushed, self.analytics, Some(&letter.request_id)).await?;
        Ok(stored)
    }

    /// Settles an event by the same code as a live one.
    async fn settle_now(&self, id: Uuid) -> Result<Done, Undone> {
        let settle = self.settle.as_ref().ok_or(Undone::away(NOT_CONFIGURED))?;
        match settle.settle_one(id).await? {
            SettlingOne::HasEnded => Ok(Done::Elsewhere),
            SettlingOne::IsInHand => Err(Undone::away("in_hand")),
            SettlingOne::Tried(Settling::Settled) => Ok(Done::Here),
            SettlingOne::Tried(Settling::Outage { class, retry_after }) => {
                Err(Undone::Away { class, pause: retry_after })
            }
            SettlingOne::Tried(Settling::Failed { class, error }) => {
                Err(Undone::failed(class, error))
            }
        }
    }

    async fn rehearse_new(&self, letter: &Letter, event: &Incoming) -> Result<Foreseen, Undone> {
        let prepared = match &self.settle {
            Some(settle) if !event.row().is_settled => {
                self.prepare_uncounted(settle, event.payment_id()).await.map(Some)
            }
            _ => Ok(None),
        };
        let (prepared, afterwards) = match prepared {
            Ok(prepared) => (prepared, None),
            // Stored is done; what then keeps it from being settled is the workers' trouble.
            Err(undone) if self.has_workers => (None, Some(undone)),
            Err(undone) => return Err(undone),
        };
        let (id, payment_id) = (event.id, event.payment_id().map(str::to_owned));
        let (body, request_id) = (event.envelope.redacted.clone(), letter.request_id.clone());
        let claimed = ClaimedEvent { id, payment_id, body, attempts: 0, deaths: 0, request_id };
        let stored = self.foresee(async |tx, now| {
            self.apply(tx, letter, event).await?;
            if let Some(prepared) = &prepared {
                drop(prepared.apply(tx, &[claimed], self.analytics, now).await?);
            }
            Ok(())
        });
        Ok(Foreseen { afterwards, ..stored.await? })
    }

    async fn rehearse_stored(&self, id: Uuid) -> Result<Foreseen, Undone> {
        match self.find(id).await?.standing {
            Standing::Received | Standing::Ended => return Ok(Foreseen::elsewhere()),
            Standing::Failed => (),
        }
        let settle = self.settle.as_ref().ok_or(Undone::away(NOT_CONFIGURED))?;
        let event = db::in_time(db::webhook_leases::get(&self.db, id)).await?;
        let prepared = self.prepare_uncounted(settle, event.payment_id.as_deref()).await?;
        self.foresee(async |tx, now| {
            drop(prepared.apply(tx, &[event], self.analytics, now).await?);
            Ok(())
        })
        .await
    }

    /// Asks the provider past its breaker's books; not at all unless the breaker is closed.
    async fn prepare_uncounted(
        &self,
        settle: &SettleEvents,
        payment_id: Option<&str>,
    ) -> Result<Prepared, Undone> {
        let moyasar = settle.moyasar.uncounted();
        attempt::prepare(&self.db, &moyasar, payment_id).await.map_err(|error| match error {
            Unsettled::Outage(error) => Undone::of_outage(&error),
            Unsettled::Storage(error) => error.into(),
            error @ (Unsettled::Refused(_)
            | Unsettled::UnknownPayment
            | Unsettled::WrongPayment
            | Unsettled::Panic(_)
            | Unsettled::Poison(_)) => Undone::failed(error.class(), error.to_string()),
        })
    }

    /// Applies, lists what that put into the outbox, and takes all of it back.
    async fn foresee(
        &self,
        apply: impl AsyncFnOnce(&mut PgTransaction<'_>, DateTime<Utc>) -> sqlx::Result<()>,
    ) -> Result<Foreseen, Undone> {
        let transaction = async {
            let mut tx = self.db.begin().await?;
            let before = db::outbox::last_id(&mut tx).await?;
            apply(&mut tx, self.clock.now()).await?;
            let written = db::outbox::list_of_transaction(&mut tx, before).await?;
            tx.rollback().await?;
            Ok(written)
        };
        let written = db::in_time(transaction).await?;
        let events = written
            .into_iter()
            .map(|row| ForeseenEvent { name: row.name, properties: row.properties.0 });
        Ok(Foreseen::here(events.collect()))
    }
}
