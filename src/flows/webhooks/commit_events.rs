//! Commit what comes in together: every event is answered for by the commit of its own row, and a
//! commit is shared by all that came meanwhile.

use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use metrics::histogram;
use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::clock::Clock;
use crate::db;
use crate::faults;
use crate::flows::webhooks::incoming::Incoming;
use crate::flows::webhooks::store_events::{Stored, StoredEvents, store_events};
use crate::wake::Wake;

/// How many events may wait for a commit; who comes then does without Postgres.
const PLACES: usize = 1_024;

/// How many share a commit at most.
const BATCH: usize = 64;

/// How long Postgres gets to confirm an event, from its arrival.
const STORE_WITHIN: Duration = Duration::from_secs(1);

/// How long Postgres is skipped after it failed; then one event at a time tries it again.
const SKIP: Duration = Duration::from_secs(1);

/// Where events wait for their commit.
#[derive(Clone)]
pub(crate) struct CommitQueue {
    places: mpsc::Sender<Waiting>,
    gate: Gate,
}

/// The other end of the queue, for as many lanes as there are.
#[derive(Clone)]
pub(crate) struct CommitEvents {
    db: PgPool,
    waiting: Arc<Mutex<mpsc::Receiver<Waiting>>>,
    gate: Gate,
    wake: Wake,
}

/// An event and who waits for it.
pub(crate) struct Waiting {
    event: Arc<Incoming>,
    answer: oneshot::Sender<Committed>,
    deadline: Instant,
}

/// What became of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Committed {
    /// Its row is committed, and was not there before.
    New,
    /// The row of that event is committed, and was there before.
    Known(Uuid),
    /// Nobody knows: Postgres did not confirm it.
    Unconfirmed,
}

/// Both ends of a new queue.
pub(crate) fn commit_queue(db: PgPool, clock: Clock, wake: Wake) -> (CommitQueue, CommitEvents) {
    let (places, waiting) = mpsc::channel(PLACES);
    let gate = Gate { clock, shut_until: Arc::default() };
    let waiting = Arc::new(Mutex::new(waiting));
    let lanes = CommitEvents { db, waiting, gate: gate.clone(), wake };
    (CommitQueue { places, gate }, lanes)
}

impl CommitQueue {
    /// Waits for the commit of the event, at most [`STORE_WITHIN`]; not at all when Postgres has just
    /// failed or too many wait.
    pub async fn commit(&self, event: Arc<Incoming>) -> Committed {
        if !self.gate.lets_through() {
            return Committed::Unconfirmed;
        }
        let (answer, answered) = oneshot::channel();
        let deadline = Instant::now() + STORE_WITHIN;
        if self.places.try_send(Waiting { event, answer, deadline }).is_err() {
            return Committed::Unconfirmed;
        }
        let answered = timeout_at(deadline, answered).await;
        // Late, or whoever had it in hand panicked.
        answered.map_or(Committed::Unconfirmed, |answer| answer.unwrap_or(Committed::Unconfirmed))
    }
}

impl CommitEvents {
    /// Waits until there is something to commit, and takes what came meanwhile. Nothing is lost when
    /// this is dropped.
    pub async fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().await;
        // Without an inbox nothing comes any more.
        let Some(first) = waiting.recv().await else { std::future::pending().await };
        let mut batch = vec![first];
        while batch.len() < BATCH
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        // Those who no longer wait went elsewhere with their event.
        batch.retain(|one| !one.answer.is_closed());
        batch
    }

    /// Commits a batch and answers everybody in it.
    pub async fn commit(&self, batch: Vec<Waiting>) {
        // The latest: whoever's time is over by then has gone elsewhere, and spoils nobody else's.
        let Some(deadline) = batch.iter().map(|one| one.deadline).max() else { return };
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        histogram!("dealix_webhook_batch_events").record(batch.len() as f64);
        match self.store(&batch, deadline).await {
            Ok(stored) => self.answer(batch, stored),
            Err(Failure::OfData(_)) if batch.len() > 1 => self.commit_one_by_one(batch).await,
            Err(failure) => self.refuse(batch, &failure),
        }
    }

    /// One event that Postgres will not have, or that somebody else is just storing, spoils nobody
    /// else's.
    async fn commit_one_by_one(&self, batch: Vec<Waiting>) {
        let mut rest = batch.into_iter();
        while let Some(one) = rest.next() {
            let (deadline, one) = (one.deadline, vec![one]);
            match self.store(&one, deadline).await {
                Ok(stored) => self.answer(one, stored),
                Err(failure @ Failure::OfData(_)) => self.refuse(one, &failure),
                Err(failure) => {
                    return self.refuse(one.into_iter().chain(rest).collect(), &failure);
                }
            }
        }
    }

    async fn store(&self, batch: &[Waiting], deadline: Instant) -> Result<StoredEvents, Failure> {
        let events: Vec<&Incoming> = batch.iter().map(|one| &*one.event).collect();
        let transaction = async {
            let mut tx = self.db.begin_with(db::pool::BEGIN_IMPATIENT).await?;
            let stored = store_events(&mut tx, &events).await?;
            faults::step("batch_uncommitted");
            tx.commit().await?;
            faults::step("batch_committed");
            Ok(stored)
        };
        match timeout_at(deadline, transaction).await {
            Ok(Ok(stored)) => Ok(stored),
            Ok(Err(error)) if db::is_outage(&error) && !db::is_contention(&error) => {
                // Once a second at most: the gate is shut.
                tracing::warn!(%error, "Postgres takes no events: {error}");
                Err(Failure::Outage)
            }
            Ok(Err(error)) => Err(Failure::OfData(error)),
            Err(_) => Err(Failure::Outage),
        }
    }

    fn answer(&self, batch: Vec<Waiting>, stored: StoredEvents) {
        self.gate.open();
        stored.questions.announce(&self.wake);
        for (one, outcome) in batch.into_iter().zip(stored.outcomes) {
            one.tell(match outcome {
                Stored::New => Committed::New,
                Stored::Known(id) => Committed::Known(id),
            });
        }
    }

    /// Sends everybody elsewhere; when Postgres is away also those who still wait, at once.
    fn refuse(&self, batch: Vec<Waiting>, failure: &Failure) {
        match failure {
            Failure::OfData(error) if db::is_contention(error) => (),
            Failure::OfData(error) => {
                tracing::error!(%error, "An event could not be stored: {error}");
            }
            Failure::Outage => {
                self.gate.shut();
                if let Ok(mut waiting) = self.waiting.try_lock() {
                    while let Ok(one) = waiting.try_recv() {
                        one.tell(Committed::Unconfirmed);
                    }
                }
            }
        }
        for one in batch {
            one.tell(Committed::Unconfirmed);
        }
    }
}

impl Waiting {
    /// Who hung up need not be told.
    fn tell(self, outcome: Committed) {
        drop(self.answer.send(outcome));
    }
}

/// Why a batch was not committed.
enum Failure {
    /// Postgres is away, frozen, too busy, or takes nothing from us.
    Outage,
    /// Postgres is well, but not with these events.
    OfData(sqlx::Error),
}

/// Spares everybody the wait for a Postgres that has just failed.
#[derive(Clone)]
struct Gate {
    clock: Clock,
    shut_until: Arc<SyncMutex<Option<std::time::Instant>>>,
}

impl Gate {
    /// Whether to try Postgres. While it is away, one event per [`SKIP`] finds out.
    fn lets_through(&self) -> bool {
        let mut shut_until = self.shut_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.monotonic();
        match *shut_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                *shut_until = Some(now + SKIP);
                true
            }
        }
    }

    fn shut(&self) {
        let until = self.clock.monotonic() + SKIP;
        *self.shut_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    fn open(&self) {
        *self.shut_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use futures_util::{FutureExt, poll};

    use super::*;
    use crate::clients::moyasar::Mode;
    use crate::clients::moyasar::envelope::Envelope;
    use crate::flows::webhooks::incoming::Delivery;

    fn event() -> Arc<Incoming> {
        let envelope = Envelope::parse(b"{}").unwrap();
        let delivery = Delivery { request_id: "r", trace_id: None };
        Incoming::new(envelope, Mode::Test, delivery, "2026-01-02T03:04:05Z".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_does_without_postgres_and_nobody_waits_for_longer_than_a_second() {
        let db = PgPool::connect_lazy("postgres://127.0.0.1:1/none").unwrap();
        // No lane runs: Postgres holds all of them up.
        let (queue, lanes) = commit_queue(db, Clock::default(), Wake::default());
        let event = event();
        let waiting = join_all((0..PLACES).map(|_| queue.commit(Arc::clone(&event))));
        let mut waiting = Box::pin(waiting);
        assert!(poll!(&mut waiting).is_pending());
        assert_eq!(queue.commit(Arc::clone(&event)).now_or_never(), Some(Committed::Unconfirmed));
        let began = Instant::now();
        assert_eq!(waiting.await, vec![Committed::Unconfirmed; PLACES]);
        assert_eq!(began.elapsed(), STORE_WITHIN);
        // Those who went elsewhere take no place in a commit.
        assert!(lanes.take().await.is_empty());
    }

    #[test]
    fn a_shut_gate_lets_one_through_per_second_until_it_opens() {
        let clock = Clock::held("2026-01-02T03:04:05Z".parse().unwrap());
        let gate = Gate { clock: clock.clone(), shut_until: Arc::default() };
        assert!(gate.lets_through() && gate.lets_through());
        gate.shut();
        assert!(!gate.lets_through());
        clock.advance(Duration::from_millis(999));
        assert!(!gate.lets_through());
        clock.advance(Duration::from_millis(1));
        assert!(gate.lets_through(), "one finds out");
        assert!(!gate.lets_through(), "the others do not wait for it");
        // The one that found out was dropped: the next one tries.
        clock.advance(SKIP);
        assert!(gate.lets_through());
        gate.open();
        assert!(gate.lets_through() && gate.lets_through());
    }
}
