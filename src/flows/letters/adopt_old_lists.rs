//! Take over what the predecessors owed: every entry of their lists becomes a letter, exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use redis::RedisResult;
use serde_json::value::RawValue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::clients::moyasar::envelope::Envelope;
use crate::clock::Clock;
use crate::domain::secret_token::blank_tokens;
use crate::faults;
use crate::flows::letters::old_item::{OldItem, clipped, event_in};
use crate::flows::webhooks::incoming::SOURCE;
use crate::queue::{Adoption, Extra, Letter, Letters, OldList, Payload, Queue};

/// How long one step goes on.
const GO: Duration = Duration::from_secs(5);

/// How far apart the events of a provider are due: they must not stand in the way of live ones.
const PACE_MS: i64 = 20;

/// What stands in a letter beside what we write, for whoever looks into an old matter.
const REMARKS: &str = "predecessor";

/// What taking over needs.
#[derive(Clone)]
pub(crate) struct AdoptOldLists {
    pub letters: Letters,
    pub max_retries: u32,
    pub clock: Clock,
    pub progress: Arc<Progress>,
}

/// How far this process has come. Whatever is lost of it is only looked at again.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Where in Redis it is looked next.
    cursor: AtomicU64,
    /// When the last event is due that was taken over.
    last_due_ms: AtomicI64,
}

/// Where the entries of a list belong.
struct Home {
    queue: Queue,
    owes_events: bool,
    /// Where they came from, if the queue does not say it.
    name: Option<String>,
}

/// What every letter has of its entry.
struct Beginning {
    source: String,
    error: String,
    attempt: u32,
    created_at: DateTime<Utc>,
    last_attempt_at: Option<DateTime<Utc>>,
    request_id: String,
    extra: Extra,
}

impl AdoptOldLists {
    /// Looks through Redis once and takes over what is there, for a few seconds at most; tells whether
    /// to go on at once.
    pub async fn run(&self) -> RedisResult<bool> {
        let (began, progress) = (Instant::now(), &self.progress);
        let mut moved = 0;
        loop {
            let cursor = progress.cursor.load(Ordering::Relaxed);
            let (next, lists) = self.letters.find_old_lists(cursor).await?;
            for list in &lists {
                moved += self.adopt_or_leave(list, began).await;
            }
            if began.elapsed() >= GO {
                // Some of these are left.
                return Ok(true);
            }
            progress.cursor.store(next, Ordering::Relaxed);
            if next == 0 {
                return Ok(moved > 0);
            }
        }
    }

    /// One list that cannot be taken over keeps nobody from the others.
    async fn adopt_or_leave(&self, list: &OldList, began: Instant) -> u64 {
        let name = clipped(&list.name()).unwrap_or_default();
        match self.adopt(list, began).await {
            Ok(0) => 0,
            Ok(count) => {
                tracing::info!(list = name, count, "Took over {count} old letters of {name}");
                count
            }
            Err(error) => {
                tracing::warn!(list = name, %error, "Old letters of {name} stay: {error}");
                0
            }
        }
    }

    async fn adopt(&self, list: &OldList, began: Instant) -> RedisResult<u64> {
        let (home, mut all) = (Home::of(&list.name()), 0);
        loop {
            let tail = self.letters.tail(list).await?;
            let adoptions: Vec<_> = tail
                .entries
                .into_iter()
                .map(|entry| (self.adoption(&home, &entry), entry))
                .map(|(adoption, entry)| (entry, adoption))
                .collect();
            if adoptions.is_empty() {
                return Ok(all);
            }
            faults::step("old_letters_read");
            let now = self.clock.now();
            let moved = self.letters.adopt(list, home.queue, &adoptions, now).await?;
            faults::step("old_letters_moved");
            metrics::counter!("dealix_dlq_adopted_total", "queue" => home.queue.name())
                .increment(moved);
            all += moved;
            let left = tail.length.saturating_sub(moved);
            tracing::debug!(queue = home.queue.name(), moved, left, "Took over some old letters");
            // Somebody else is at it, or it is somebody else's turn.
            if moved == 0 || began.elapsed() >= GO {
                return Ok(all);
            }
        }
    }

    /// What an entry becomes. Its secret is gone before anything else is read.
    fn adoption(&self, home: &Home, entry: &[u8]) -> Adoption {
        let text = String::from_utf8_lossy(entry);
        let text = blank_tokens(&text);
        let now = self.clock.now();
        let Some(item) = OldItem::read(&text) else {
            let body = serde_json::Value::from(text.into_owned()).to_string();
            let beginning = Beginning::of(None, home, now);
            return Adoption::Dead(self.dead("malformed", beginning, body));
        };
        let event = event_in(&item.payload).filter(|_| home.owes_events);
        let beginning = Beginning::of(Some(&item), home, now);
        match event {
            Some(event) => Adoption::Owed(self.event(&event, beginning, now)),
            None => Adoption::Dead(self.dead("adopted", beginning, item.payload)),
        }
    }

    /// An event is tried by itself: what it claims is asked of its provider again.
    fn event(&self, event: &Envelope, beginning: Beginning, now: DateTime<Utc>) -> Letter {
        let key = event.key();
        let payload = Payload::Event {
            event_id: key.clone(),
            event_type: event.event_type.clone(),
            received_at: beginning.created_at,
            body: String::from_utf8_lossy(&event.redacted).into_owned(),
        };
        let beginning = Beginning { source: SOURCE.to_owned(), attempt: 0, ..beginning };
        let letter = self.letter(format!("{SOURCE}:{key}"), "adopted", beginning, payload);
        Letter { next_attempt_at: self.next_due(now), ..letter }
    }

    /// Whatever else it is could reach a customer months late: an operator decides.
    fn dead(&self, class: &str, beginning: Beginning, body: String) -> Letter {
        // The entry's own id may be anybody else's as well.
        let id = format!("old:{}", Uuid::now_v7());
        self.letter(id, class, beginning, Payload::Job { body })
    }

    fn letter(&self, id: String, class: &str, from: Beginning, payload: Payload) -> Letter {
        let Beginning { source, error, attempt, created_at, last_attempt_at, .. } = from;
        let Beginning { request_id, extra, .. } = from;
        Letter {
            id,
            source,
            error,
            error_class: class.to_owned(),
            attempt,
            max_retries: self.max_retries,
            created_at,
            last_attempt_at,
            next_attempt_at: created_at,
            request_id,
            trace_id: None,
            payload,
            // They wrote the body anew: its bytes are nobody's.
            body_sha256: None,
            is_changed: false,
            original: None,
            extra,
        }
    }

    fn next_due(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let (last, now_ms) = (&self.progress.last_due_ms, now.timestamp_millis());
        let due_ms = now_ms.max(last.load(Ordering::Relaxed) + PACE_MS);
        last.store(due_ms, Ordering::Relaxed);
        now + TimeDelta::milliseconds(due_ms - now_ms)
    }
}

impl Home {
    fn of(name: &str) -> Self {
        match (name, Queue::named(name)) {
            ("webhooks" | "payments" | "moyasar", _) => {
                Self { queue: Queue::Webhooks, owes_events: true, name: None }
            }
            (_, Some(queue)) => Self { queue, owes_events: false, name: None },
            (_, None) => {
                let name = clipped(name).or_else(|| Some("unnamed".to_owned()));
                Self { queue: Queue::Outbound, owes_events: false, name }
            }
        }
    }
}

impl Beginning {
    fn of(item: Option<&OldItem>, home: &Home, now: DateTime<Utc>) -> Self {
        // A time that is still to come was a clock's mistake.
        let past =
            |at: Option<DateTime<Utc>>| at.filter(|at| (DateTime::UNIX_EPOCH..now).contains(at));
        let source = home.name.clone().or_else(|| item?.source.clone());
        let error = item.map_or("it is no entry of a queue", |item| item.error.as_str());
        let remarks = item.and_then(|item| RawValue::from_string(item.remarks.clone()).ok());
        Self {
            source: source.unwrap_or_else(|| home.queue.name().to_owned()),
            error: error.to_owned(),
            attempt: item.map_or(0, |item| item.attempts),
            created_at: past(item.and_then(|item| item.first_at)).unwrap_or(now),
            last_attempt_at: past(item.and_then(|item| item.last_at)),
            request_id: item
                .and_then(|item| item.request_id.clone())
                .unwrap_or_else(|| Uuid::now_v7().to_string()),
            extra: remarks.map(|remarks| Extra::of(REMARKS, remarks)).unwrap_or_default(),
        }
    }
}
