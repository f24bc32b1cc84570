//! What the letters of each queue owe, and who does it: the one place that knows a handler per queue.
//!
//! A handler prepares (reads, outside of any transaction) and applies (writes to Postgres, within one).
//! The worker, a drain and a single retry go through [`Debts::settle`]; a rehearsal does the same with
//! calls that nobody counts and a transaction that is rolled back.

use std::time::Duration;

use serde_json::Value;

use crate::clients::ClientError;
use crate::db;
use crate::flows::letters::owed_analytics::OwedAnalytics;
use crate::flows::letters::owed_event::OwedEvents;
use crate::flows::settling::company::Company;
use crate::queue::{Letter, Payload, Queue};

/// How soon one is tried again for which something is away.
const OUTAGE_PAUSE: Duration = Duration::from_secs(5);

/// How soon one is tried again for which there is no handler yet.
const RELEASE_PAUSE: Duration = Duration::from_hours(1);

/// The handlers.
#[derive(Clone)]
pub(crate) struct Debts {
    pub events: OwedEvents,
    pub analytics: OwedAnalytics,
    /// Who settles beside whom in this process.
    pub company: Company,
}

/// Who did what was owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Done {
    Here,
    Elsewhere,
}

/// Why it was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Undone {
    /// Something that it needs is away: nobody's attempt.
    Away { class: &'static str, pause: Duration },
    /// It failed of its own.
    Failed { class: String, error: String },
}

/// What would happen.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Foreseen {
    pub done: Done,
    /// What would be written to the outbox or sent from it.
    pub events: Vec<ForeseenEvent>,
}

/// An event that analytics would be told.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ForeseenEvent {
    pub name: String,
    pub properties: Value,
}

impl Foreseen {
    /// It is done already.
    pub const fn elsewhere() -> Self {
        Self { done: Done::Elsewhere, events: Vec::new() }
    }
}

impl Undone {
    pub fn failed(class: &str, error: impl Into<String>) -> Self {
        Self::Failed { class: class.to_owned(), error: error.into() }
    }

    pub const fn away(class: &'static str) -> Self {
        Self::Away { class, pause: OUTAGE_PAUSE }
    }

    /// A service that gave no answer, for as long as it wants to be left alone.
    pub fn of_outage(error: &ClientError) -> Self {
        let pause = error.retry_after().unwrap_or(OUTAGE_PAUSE).max(Duration::from_secs(1));
        Self::Away { class: error.class(), pause }
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

impl Debts {
    /// Whether anybody does what this queue owes; otherwise its letters wait for a later release.
    pub const fn has_handler(queue: Queue) -> bool {
        match queue {
            Queue::Webhooks | Queue::Analytics => true,
            Queue::Outbound | Queue::Enrichment | Queue::CrmSync => false,
        }
    }

    /// Does what is owed. Whatever it writes is written before the letter goes. A letter whose worker
    /// died is settled while this process settles nothing else.
    pub async fn settle(&self, queue: Queue, letter: &Letter, deaths: u32) -> Result<Done, Undone> {
        let (_beside, _alone) = if deaths == 0 {
            (Some(self.company.join().await), None)
        } else {
            (None, Some(self.company.clear().await))
        };
        match (queue, &letter.payload) {
            (Queue::Webhooks, Payload::Event { .. } | Payload::StoredEvent { .. }) => {
                self.events.settle(letter).await
            }
            (Queue::Analytics, Payload::OutboxRow { row_id }) => {
                self.analytics.settle(*row_id).await
            }
            (queue, payload) => Err(nobody(queue, payload)),
        }
    }

    /// What [`Self::settle`] would do, as far as it can be known without doing it.
    pub async fn rehearse(&self, queue: Queue, letter: &Letter) -> Result<Foreseen, Undone> {
        match (queue, &letter.payload) {
            (Queue::Webhooks, Payload::Event { .. } | Payload::StoredEvent { .. }) => {
                self.events.rehearse(letter).await
            }
            (Queue::Analytics, Payload::OutboxRow { row_id }) => {
                self.analytics.rehearse(*row_id).await
            }
            (queue, payload) => Err(nobody(queue, payload)),
        }
    }
}

/// Why nobody settles such a letter.
fn nobody(queue: Queue, payload: &Payload) -> Undone {
    if !Debts::has_handler(queue) {
        return Undone::Away { class: "no_handler", pause: RELEASE_PAUSE };
    }
    let kind = match payload {
        Payload::Event { .. } | Payload::StoredEvent { .. } => "a webhook event",
        Payload::OutboxRow { .. } => "an event for analytics",
        Payload::Job { .. } => "something of an older release",
    };
    Undone::failed("misplaced", format!("the queue {} cannot owe {kind}", queue.name()))
}
