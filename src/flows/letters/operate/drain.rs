//! Replay on an operator's word: a page of a queue, or one entry; also on a paused queue, and without
//! waiting for a backoff.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::db;
use crate::faults;
use crate::flows::idempotency::{Answered, IdempotencyKey};
use crate::flows::letters::handler::AWAY;
use crate::flows::letters::operate::once::Written;
use crate::flows::letters::operate::{Noted, Operate, OperateError, Order, subject};
use crate::flows::letters::replay_letter::{ABREAST, Outcome, Replayed};
use crate::queue::{Cursor, Entry, Filter, Page, Queue, Reach, State};

/// When a drain takes no more, or its rehearsal begins with no more.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// When it no longer waits for what it took, so that its request is answered.
pub(super) const PATIENCE: Duration = Duration::from_secs(28);

/// The states that a drain looks at.
pub(super) const WAITING: [State; 2] = [State::Ready, State::Scheduled];

/// What a drain did. A release must read what the one before it has stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Drained {
    pub items: Vec<Replayed>,
    /// How many entries the queue still has, the dead included.
    pub remaining: u64,
    /// Where a further drain goes on, so that it tries nothing that this one has tried.
    pub next: Option<Cursor>,
    pub stopped: Option<Stopped>,
}

/// Why a drain took no more although there was more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stopped {
    /// It had taken too long.
    Deadline,
    /// The process was told to stop.
    Shutdown,
}

impl Stopped {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Shutdown => "shutdown",
        }
    }
}

impl Drained {
    /// How many ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.items.iter().filter(|item| item.outcome == outcome).count()
    }
}

impl Operate {
    /// Replays up to `limit` entries that wait, oldest first behind `after`, each at most once, and once
    /// for each key; to its end, also when nobody waits for the result any more.
    pub async fn drain(
        &self,
        queue: Queue,
        limit: usize,
        after: Option<Cursor>,
        order: Order,
        key: Option<IdempotencyKey>,
    ) -> Result<Answered<Drained>, OperateError> {
        let this = self.clone();
        let drain = async move { this.drain_here(queue, limit, after, &order, key.as_ref()).await };
        self.tasks.finish(drain).await.map_err(OperateError::Broken)?
    }

    async fn drain_here(
        &self,
        queue: Queue,
        limit: usize,
        behind: Option<Cursor>,
        order: &Order,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answered<Drained>, OperateError> {
        let (began, started) = (self.clock.monotonic(), Instant::now());
        let depth = self.letters.count(queue, self.clock.now()).await?.depth();
        let mark = self.letters.high_water(queue).await?;
        let (before, after) = (Some(json!({ "depth": depth })), Some(json!({ "limit": limit })));
        let noted = Noted { action: "dlq.drained", subject: queue.name(), before, after };
        let subject = match self.note_once(order, key, noted, Ok(())).await {
            // Whatever a letter owes is written to Postgres: nothing could succeed.
            Err(OperateError::Storage(error)) if db::is_outage(&error) => {
                return self.hold(queue, limit, behind, depth).await.map(Answered::new);
            }
            written => match written? {
                Written::New(subject) => subject,
                Written::Before(answer) => return Ok(Answered { answer, is_replayed: true }),
            },
        };
        faults::step("drain_noted");
        let drained = self.drain_marked(queue, limit, (behind, mark), (began, started)).await;
        self.conclude(subject, drained).await
    }

    /// Drains what is behind the place and not above the mark.
    async fn drain_marked(
        &self,
        queue: Queue,
        limit: usize,
        (behind, mark): (Option<Cursor>, u64),
        (began, started): (std::time::Instant, Instant),
    ) -> Result<Drained, OperateError> {
        let (mut items, mut cursor, mut stopped) = (Vec::new(), behind, None);
        while let Some(places @ 1..) = limit.checked_sub(items.len()) {
            stopped = self.stopped(began);
            if stopped.is_some() {
                break;
            }
            let (now, lease, abreast) = (self.clock.now(), self.replay.lease, places.min(ABREAST));
            let page =
                self.letters.take_waiting(queue, now, lease, abreast, cursor.as_ref(), Some(mark));
            let page = page.await?;
            faults::step("drain_taken");
            items.extend(self.replay.replay(queue, &page.items, started + PATIENCE).await?);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let remaining = self.letters.count(queue, self.clock.now()).await?.depth();
        tracing::info!(queue = queue.name(), processed = items.len(), "Drained {}", queue.name());
        Ok(Drained { items, remaining, next: cursor, stopped })
    }

    /// Why no more is begun of what began then.
    pub(super) fn stopped(&self, began: std::time::Instant) -> Option<Stopped> {
        if self.tasks.stopping().is_cancelled() {
            return Some(Stopped::Shutdown);
        }
        let is_late = self.clock.monotonic().saturating_duration_since(began) >= DEADLINE;
        is_late.then_some(Stopped::Deadline)
    }

    /// Replays one entry, whatever its state, as long as nobody has it in hand, and once for each key.
    pub async fn retry(
        &self,
        queue: Queue,
        id: &str,
        order: Order,
        key: Option<IdempotencyKey>,
    ) -> Result<Answered<Replayed>, OperateError> {
        let (this, id) = (self.clone(), id.to_owned());
        let retry = async move { this.retry_here(queue, &id, &order, key.as_ref()).await };
        self.tasks.finish(retry).await.map_err(OperateError::Broken)?
    }

    async fn retry_here(
        &self,
        queue: Queue,
        id: &str,
        order: &Order,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answered<Replayed>, OperateError> {
        let started = Instant::now();
        // Who asks again what came of it finds no entry any more.
        let found = self.letters.get(queue, id, self.clock.now()).await?;
        let before = found.as_ref().map(|entry| json!({ "state": entry.state.name() }));
        let name = subject(queue, id);
        let noted = Noted { action: "dlq.retried", subject: &name, before, after: None };
        let judged = retriable(found.as_ref());
        let subject = match self.note_once(order, key, noted, judged.map(drop)).await {
            Err(OperateError::Storage(error)) if db::is_outage(&error) => {
                return retriable(found.as_ref()).map(|entry| Answered::new(held_back(entry)));
            }
            written => match written? {
                Written::New(subject) => subject,
                Written::Before(answer) => return Ok(Answered { answer, is_replayed: true }),
            },
        };
        faults::step("retry_noted");
        let retried = self.retry_noted(queue, id, started).await;
        self.conclude(subject, retried).await
    }

    async fn retry_noted(
        &self,
        queue: Queue,
        id: &str,
        started: Instant,
    ) -> Result<Replayed, OperateError> {
        let (ids, now) = ([id.to_owned()], self.clock.now());
        let lease = self.replay.lease;
        let taken = self.letters.take_these(queue, &ids, Reach::AlsoDead, now, lease).await?;
        faults::step("retry_taken");
        let replayed = self.replay.replay(queue, &taken.in_hand, started + PATIENCE).await?;
        match replayed.into_iter().next() {
            Some(replayed) => Ok(replayed),
            // Somebody was faster: they have it, or had it.
            None => match self.get(queue, id).await {
                Ok(_) => Err(OperateError::InFlight),
                Err(error) => Err(error),
            },
        }
    }

    /// What a drain would have taken, untouched.
    async fn hold(
        &self,
        queue: Queue,
        limit: usize,
        after: Option<Cursor>,
        remaining: u64,
    ) -> Result<Drained, OperateError> {
        let Page { items, next } = self.list_waiting(queue, limit, after).await?;
        let items = items.iter().map(held_back).collect();
        Ok(Drained { items, remaining, next, stopped: None })
    }

    /// The entries that a drain would take, oldest first behind `after`.
    pub(super) async fn list_waiting(
        &self,
        queue: Queue,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page<Entry>, OperateError> {
        let filter = Filter { states: WAITING.into(), ..Filter::default() };
        let (mut items, mut next) = (Vec::new(), after);
        while let Some(places @ 1..) = limit.checked_sub(items.len()) {
            let now = self.clock.now();
            let page = self.letters.page(queue, &filter, next.as_ref(), places, now).await?;
            items.extend(page.items);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        Ok(Page { items, next })
    }
}

/// The entry, if it may be retried.
fn retriable(found: Option<&Entry>) -> Result<&Entry, OperateError> {
    match found {
        None => Err(OperateError::NotFound),
        Some(entry) if entry.state == State::InFlight => Err(OperateError::InFlight),
        Some(entry) => Ok(entry),
    }
}

/// An entry that was not even tried, because Postgres is away.
fn held_back(entry: &Entry) -> Replayed {
    Replayed {
        id: entry.id.clone(),
        source: entry.source.clone(),
        outcome: Outcome::Held,
        error: Some(AWAY.to_owned()),
    }
}
