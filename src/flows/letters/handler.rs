//! What does what the letters of a queue owe: the promise of a handler, and what it answers.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::clients::ClientError;
use crate::db;
use crate::queue::{Letter, Payload};

/// What a letter is held by while Postgres is away.
pub(crate) const AWAY: &str = "storage";

/// What a letter is held by that this process is not told how to do.
pub(crate) const NOT_CONFIGURED: &str = "not_configured";

/// How soon one is tried again for which something is away.
const OUTAGE_PAUSE: Duration = Duration::from_secs(5);

/// Does what the letters of one queue owe. It prepares (reads, outside of any transaction) and applies
/// (writes to Postgres, within one); a rehearsal does the same with calls that nobody counts and takes
/// what it wrote back. Whatever it writes is written before the letter goes, and a letter may come to it
/// more than once.
pub trait Handler: Send + Sync {
    /// Whether it knows how to do what this owes.
    fn knows(&self, payload: &Payload) -> bool;

    /// Does what is owed.
    fn settle<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Done, Undone>>;

    /// What [`Self::settle`] would do, as far as it can be known without doing it.
    fn rehearse<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Foreseen, Undone>>;
}

/// Who did what was owed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// This attempt.
    Here,
    /// Somebody else, earlier.
    Elsewhere,
}

/// Why it was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Undone {
    /// Something that it needs is away: nobody's attempt.
    Away {
        /// What, in a word.
        class: &'static str,
        /// How long it is left alone.
        pause: Duration,
    },
    /// It failed of its own.
    Failed {
        /// How, in a word.
        class: String,
        /// How, in our own words.
        error: String,
    },
}

/// What would happen.
#[derive(Clone, PartialEq, Debug)]
pub struct Foreseen {
    /// Who would have done it.
    pub done: Done,
    /// What would be written to the outbox or sent from it.
    pub events: Vec<ForeseenEvent>,
    /// Why those who have it afterwards could not do the rest, as things are: that is no failure of the
    /// letter any more.
    pub afterwards: Option<Undone>,
}

/// An event that analytics would be told.
#[derive(Clone, PartialEq, Debug)]
pub struct ForeseenEvent {
    /// What happened.
    pub name: String,
    /// What is told of it.
    pub properties: Value,
}

impl Foreseen {
    /// It would be done, with these events.
    pub const fn here(events: Vec<ForeseenEvent>) -> Self {
        Self { done: Done::Here, events, afterwards: None }
    }

    /// It is done already.
    pub const fn elsewhere() -> Self {
        Self { done: Done::Elsewhere, events: Vec::new(), afterwards: None }
    }
}

impl Undone {
    /// It failed of its own.
    pub fn failed(class: &str, error: impl Into<String>) -> Self {
        Self::Failed { class: class.to_owned(), error: error.into() }
    }

    /// Something is away that nobody knows the end of.
    pub const fn away(class: &'static str) -> Self {
        Self::Away { class, pause: OUTAGE_PAUSE }
    }

    /// A service that gave no answer, for as long as it wants to be left alone.
    pub(crate) fn of_outage(error: &ClientError) -> Self {
        let pause = error.retry_after().unwrap_or(OUTAGE_PAUSE).max(Duration::from_secs(1));
        Self::Away { class: error.class(), pause }
    }
}

impl From<sqlx::Error> for Undone {
    fn from(error: sqlx::Error) -> Self {
        if db::is_outage(&error) {
            Self::away(AWAY)
        } else {
            Self::failed("storage", error.to_string())
        }
    }
}
