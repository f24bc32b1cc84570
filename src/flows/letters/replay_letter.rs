//! Replay dead letters: what an entry of each queue means, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use redis::RedisResult;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::clients::moyasar::Mode;
use crate::clients::moyasar::envelope::Envelope;
use crate::clock::Clock;
use crate::db;
use crate::db::dead_letters::Standing;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};
use crate::faults;
use crate::flows::backoff::after;
use crate::flows::health::check_sentry::OPERATIONS;
use crate::flows::settling::settle_event::{SettleEvents, Settling, SettlingOne};
use crate::flows::webhooks::incoming::{Delivery, Incoming};
use crate::flows::webhooks::store_events::{Stored, ask_about_change, store_events};
use crate::queue::{Content, InHand, Letter, Letters, Payload, Queue};
use crate::tasks::guarded;
use crate::wake::Wake;

/// Waits after failed attempts; the last one goes on for as many attempts as are configured.
const BACKOFF: [Duration; 5] = [
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(6),
];

/// How many letters are replayed at a time.
const ABREAST: usize = 8;

/// How soon one is tried again for which something is away.
const OUTAGE_PAUSE: Duration = Duration::from_secs(5);

/// For how long letters are taken in one go.
const GO: Duration = Duration::from_secs(10);

/// How long a letter of a newer version is left alone.
const NEWER_PAUSE: Duration = Duration::from_mins(5);

/// How many workers may die with nothing but the letter in their hands. The one that died before them
/// may have died of another.
const DEATHS_ALONE: u32 = 3;

/// What replaying letters needs.
#[derive(Clone)]
pub(crate) struct ReplayLetters {
    pub db: PgPool,
    pub letters: Letters,
    /// Without a key at the provider nothing can be settled.
    pub settle: Option<SettleEvents>,
    /// The mode of that key.
    pub mode: Mode,
    pub analytics: Analytics,
    /// How long a letter belongs to whoever took it.
    pub lease: TimeDelta,
    /// How many are taken at once.
    pub batch: usize,
    pub clock: Clock,
    pub wake: Wake,
    /// Whether something that a letter needs was away last time: then one goes ahead of the others.
    pub is_held: Arc<AtomicBool>,
}

/// What became of a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// What was owed is done.
    Succeeded,
    /// Somebody else had done it.
    Superseded,
    /// It failed, and is due again later.
    ReQueued,
    /// It was given up.
    Dead,
    /// Nobody's attempt: something that it needs is away, or only a newer version can read it.
    Held,
}

impl Outcome {
    /// The word in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Superseded => "superseded",
            Self::ReQueued => "re_queued",
            Self::Dead => "dead",
            Self::Held => "held",
        }
    }
}

/// Who did what was owed.
enum Done {
    Here,
    Elsewhere,
}

/// Why it was not done.
enum Undone {
    /// Something that it needs is away: nobody's attempt.
    Away { class: &'static str, pause: Duration },
    /// It failed of its own.
    Failed { class: String, error: String },
}

impl Undone {
    fn failed(class: &str, error: impl Into<String>) -> Self {
        Self::Failed { class: class.to_owned(), error: error.into() }
    }

    const fn away(class: &'static str) -> Self {
        Self::Away { class, pause: OUTAGE_PAUSE }
    }
}

impl From<sqlx::Error> for Undone {
    fn from(error: sqlx::Error) -> Self {
        if db::is_outage(&error) {
            Self::away("storage")
        } else {
            Self::failed("storage", error.to_string())
        }
    }
}

impl ReplayLetters {
    /// Replays what is due, for a few seconds at most. While something that letters need is away, one
    /// goes ahead to find out whether it is back.
    pub async fn run(&self, queue: Queue) -> RedisResult<Vec<Outcome>> {
        let limit = if self.is_held.load(Ordering::Relaxed) { 1 } else { self.batch };
        let (began, mut outcomes) = (Instant::now(), Vec::new());
        while let Some(places @ 1..) = limit.checked_sub(outcomes.len())
            && began.elapsed() < GO
        {
            let (now, abreast) = (self.clock.now(), places.min(ABREAST));
            let taken = self.letters.take(queue, now, self.lease, abreast).await?;
            if !taken.is_empty() {
                faults::step("letter_taken");
            }
            let replays = taken.into_iter().map(|in_hand| self.replay(queue, in_hand));
            let replayed = join_all(replays).await;
            // What cannot be put back now returns by itself when its lease ends.
            let replayed: Vec<_> = replayed.into_iter().collect::<RedisResult<_>>()?;
            let is_over = replayed.is_empty() || replayed.contains(&Outcome::Held);
            outcomes.extend(replayed);
            if is_over {
                break;
            }
        }
        Ok(outcomes)
    }

    async fn replay(&self, queue: Queue, in_hand: InHand) -> RedisResult<Outcome> {
        let outcome = self.replay_one(queue, &in_hand).await?;
        metrics::counter!("dealix_dlq_replays_total", "queue" => queue.name(), "outcome" => outcome.name())
            .increment(1);
        Ok(outcome)
    }

    async fn replay_one(&self, queue: Queue, in_hand: &InHand) -> RedisResult<Outcome> {
        let (id, now) = (in_hand.id(), self.clock.now());
        let letter = match &in_hand.content {
            Content::Letter(letter) => letter,
            Content::Newer => {
                tracing::warn!(letter.id = %id, "A letter waits for a newer version of this service");
                self.give_back(queue, in_hand, None, now + NEWER_PAUSE).await?;
                return Ok(Outcome::Held);
            }
            Content::Unreadable => {
                tracing::error!(letter.id = %id, "A letter cannot be read and was set aside");
                self.bury(queue, in_hand, None, now).await?;
                return Ok(Outcome::Dead);
            }
        };
        if in_hand.deaths > DEATHS_ALONE {
            let error =
                format!("{DEATHS_ALONE} processes ended with nothing but this letter in hand");
            return self.give_up(queue, in_hand, letter, "poison".to_owned(), error).await;
        }
        let done = guarded(Box::pin(self.handle(letter, in_hand.deaths))).await;
        let done = done.unwrap_or_else(|panic| Err(Undone::failed("panic", panic)));
        self.is_held.store(matches!(done, Err(Undone::Away { .. })), Ordering::Relaxed);
        match done {
            Ok(done) => {
                faults::step("letter_done");
                self.letters.acknowledge(queue, in_hand, self.clock.now()).await?;
                faults::step("letter_acknowledged");
                Ok(match done {
                    Done::Here => Outcome::Succeeded,
                    Done::Elsewhere => Outcome::Superseded,
                })
            }
            Err(Undone::Away { class, pause }) => {
                tracing::debug!(letter.id = %id, class, "A letter is held: {class}");
                // Behind those that may not need what is away.
                self.give_back(queue, in_hand, None, now + pause).await?;
                Ok(Outcome::Held)
            }
            Err(Undone::Failed { class, error }) if letter.attempt + 1 >= letter.max_retries => {
                self.give_up(queue, in_hand, letter, class, error).await
            }
            Err(Undone::Failed { class, error }) => {
                tracing::warn!(letter.id = %id, class, error, "A letter failed: {error}");
                let failures = usize::try_from(letter.attempt).unwrap_or(usize::MAX);
                let [.., longest] = BACKOFF;
                let pause = BACKOFF.get(failures).copied().unwrap_or(longest);
                let due_at = after(now, pause);
                let tried = tried(letter, class, error, (now, due_at));
                self.give_back(queue, in_hand, Some(&tried), due_at).await?;
                Ok(Outcome::ReQueued)
            }
        }
    }

    async fn give_up(
        &self,
        queue: Queue,
        in_hand: &InHand,
        letter: &Letter,
        class: String,
        error: String,
    ) -> RedisResult<Outcome> {
        let now = self.clock.now();
        tracing::error!(letter.id = %in_hand.id(), class, error, "A letter is dead: {error}");
        let tried = tried(letter, class, error, (now, now));
        self.bury(queue, in_hand, Some(&tried), now).await?;
        Ok(Outcome::Dead)
    }

    async fn give_back(
        &self,
        queue: Queue,
        in_hand: &InHand,
        letter: Option<&Letter>,
        due_at: DateTime<Utc>,
    ) -> RedisResult<()> {
        faults::step("letter_unreturned");
        self.letters.give_back(queue, in_hand, letter, due_at, self.clock.now()).await?;
        faults::step("letter_returned");
        Ok(())
    }

    async fn bury(
        &self,
        queue: Queue,
        in_hand: &InHand,
        letter: Option<&Letter>,
        now: DateTime<Utc>,
    ) -> RedisResult<()> {
        faults::step("letter_unburied");
        self.letters.bury(queue, in_hand, letter, now).await?;
        faults::step("letter_buried");
        Ok(())
    }

    /// Does what is owed. Whatever it writes is written before the letter goes.
    async fn handle(&self, letter: &Letter, deaths: u32) -> Result<Done, Undone> {
        let (id, is_new) = match &letter.payload {
            Payload::StoredEvent { row_id } => (*row_id, false),
            Payload::Event { body, received_at, .. } => {
                self.store(letter, body, *received_at).await?
            }
            Payload::OutboxRow { .. } | Payload::Job { .. } => {
                return Err(Undone::away("no_handler"));
            }
        };
        let Some(event) = db::in_time(db::dead_letters::find(&self.db, id)).await? else {
            return Err(Undone::failed("row_missing", "the event is not in the database"));
        };
        if letter.is_changed {
            let payment_id = event.payment_id.as_deref();
            let asked = ask_about_change(&self.db, &self.wake, id, payment_id, self.clock.now());
            db::in_time(asked).await?;
        }
        if is_new {
            // From here on the workers have it.
            return Ok(Done::Here);
        }
        match event.standing {
            Standing::Failed => self.settle(id, deaths).await,
            Standing::Received | Standing::Ended => Ok(Done::Elsewhere),
        }
    }

    /// Writes an event to where it should have gone, unless it is there; tells its id, and whether it
    /// was not there.
    async fn store(
        &self,
        letter: &Letter,
        body: &str,
        received_at: DateTime<Utc>,
    ) -> Result<(Uuid, bool), Undone> {
        let envelope = Envelope::parse(body.as_bytes())
            .map_err(|illegible| Undone::failed("unreadable", illegible.to_string()))?;
        let (request_id, trace_id) = (letter.request_id.as_str(), letter.trace_id.as_deref());
        let delivery = Delivery { request_id, trace_id };
        let event = Incoming::new(envelope, self.mode, delivery, received_at);
        let pushed =
            Occurrence::once(FunnelEvent::DlqPushed, OPERATIONS, &letter.id, self.clock.now())
                .with("queue", Queue::Webhooks.name())
                .with("error_class", letter.error_class.as_str());
        let transaction = async {
            let mut tx = self.db.begin().await?;
            let stored = store_events(&mut tx, &[&event]).await?;
            db::outbox::insert(&mut tx, &pushed, self.analytics, Some(request_id)).await?;
            faults::step("letter_unstored");
            tx.commit().await?;
            faults::step("letter_stored");
            Ok(stored)
        };
        let stored = db::in_time(transaction).await?;
        stored.questions.announce(&self.wake);
        self.wake.outbox.notify_one();
        self.wake.events.notify_one();
        match stored.outcomes.first() {
            Some(Stored::New) => Ok((event.id, true)),
            Some(Stored::Known(id)) => Ok((*id, false)),
            None => Err(Undone::failed("storage", "no outcome")),
        }
    }

    /// Settles a failed event by the same code as a live one. One whose worker died is settled while
    /// this process settles nothing else.
    async fn settle(&self, id: Uuid, deaths: u32) -> Result<Done, Undone> {
        let Some(settle) = &self.settle else { return Err(Undone::away("not_configured")) };
        let settled = if deaths == 0 {
            let _beside_others = settle.company.join().await;
            settle.settle_one(id).await?
        } else {
            let _alone = settle.company.clear().await;
            settle.settle_one(id).await?
        };
        match settled {
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
}

/// The letter after a failed attempt.
fn tried(
    letter: &Letter,
    error_class: String,
    error: String,
    (now, next_attempt_at): (DateTime<Utc>, DateTime<Utc>),
) -> Letter {
    Letter {
        error,
        error_class,
        attempt: letter.attempt + 1,
        last_attempt_at: Some(now),
        next_attempt_at,
        ..letter.clone()
    }
}
