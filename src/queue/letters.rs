//! The dead-letter queues in Redis: how they are laid out, and how a letter gets in.
//!
//! All times are milliseconds since 1970; all of a queue is in one slot.
//!
//! | `<prefix>:dlq:{<queue>}:2:…` | kind | holds |
//! |---|---|---|
//! | `letters` | hash | id → the letter, as JSON |
//! | `ready`, `scheduled`, `in_flight`, `dead` | sorted sets | id → when it was made; a letter is in exactly one |
//! | `line` | sorted set | what is ready → since when: the order in which workers take |
//! | `due` | sorted set | what is scheduled → when it is to be tried |
//! | `leased`, `leases` | sorted set, hash | what is in flight → when its lease ends; the token of whoever holds it |
//! | `deaths` | hash | id → how many workers died with it in their hands |
//! | `faces` | hash | id → what it is found by: made at, number, class, source, group, request |
//! | `class:…`, `source:…`, `group:…` | sorted sets | id → when it was made |
//! | `requests` | sorted set | `request\0made at\0id`, by its letters |
//! | `number` | counter | how many letters have come; a letter's number tells whether it came after some moment |
//! | `groups`, `groups_live`, `groups_gone` | hash, sorted sets | what is known of a group; first seen; without letters since |
//! | `bin`, `binned` | hash, sorted set | what an operator deleted, with where it was; since when |
//! | `last`, `paused` | hashes | what failed last; who paused the queue, and why |
//!
//! Each move is one script, so nothing is ever between two places, and every index agrees with the
//! letters. What was scheduled and is due counts as ready at once; it is moved when somebody looks, a
//! few hundred at a time. Scripts are put by their digest, and in full to a Redis that does not know
//! them. Nothing expires and nothing is trimmed.
//!
//! The layout before this one had the same keys without the number; `tidy` brings its letters over, also
//! while an instance of that release still writes them. It cannot see ours.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use redis::{Cmd, ErrorKind, RedisError, RedisResult};
use uuid::Uuid;

use super::Redis;
use super::durability::{self, Answers, Durability, Flaw};
use super::face::Face;
use super::letter::{Letter, VERSION};
use super::link::{Link, PATIENCE};
use super::names::Queue;
use super::scripts::{in_full, is_unknown};

const PUSH: &str = include_str!("scripts/push.lua");

/// The queues of one service.
#[derive(Clone)]
pub struct Letters {
    pub(super) redis: Redis,
    pub(super) prefix: String,
    /// What the tokens of this process begin with.
    pub(super) process: String,
    pub(super) release: Arc<str>,
}

/// How a letter enters.
#[derive(Clone, Copy)]
enum Entry {
    /// One that is there stays.
    Keeps,
    /// One that carries the event itself gives way.
    Replaces,
    /// One that is there stays, also in the bin.
    Rebuilds,
    /// One that is there stays; the new one is dead from the beginning.
    IsDead,
}

impl Entry {
    const fn word(self) -> &'static str {
        match self {
            Self::Keeps => "keep",
            Self::Replaces => "replace",
            Self::Rebuilds => "rebuild",
            Self::IsDead => "dead",
        }
    }
}

/// What became of a letter that was pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// There was none with its id.
    New,
    /// There was one.
    Known,
    /// An operator deleted it, and it was only to be rebuilt.
    Deleted,
}

/// Why a letter was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// It failed, or was not to be reached.
    #[error("Redis failed: {0}")]
    Redis(RedisError),
    /// It takes nothing that adds.
    #[error("Redis is out of memory")]
    Full,
    /// It may have taken the letter all the same.
    #[error("Redis did not answer in time")]
    TimedOut,
    /// It took the letter.
    #[error("Redis may forget what it acknowledges: {}", names(flaws))]
    NotDurable {
        /// What became of it.
        pushed: Pushed,
        /// Why it may be lost.
        flaws: Vec<Flaw>,
    },
}

impl From<RedisError> for PushError {
    fn from(error: RedisError) -> Self {
        if error.code() == Some("OOM") { Self::Full } else { Self::Redis(error) }
    }
}

/// What became of a letter that Postgres has the row of: one that Redis may forget is written anew when
/// it has.
pub fn backed(pushed: Result<Pushed, PushError>) -> Result<Pushed, PushError> {
    match pushed {
        Err(PushError::NotDurable { pushed, .. }) => Ok(pushed),
        pushed => pushed,
    }
}

impl Letters {
    /// The queues whose keys begin with `prefix`, as this start of this process sees them. `release` is
    /// written to the groups that it sees first.
    pub fn new(redis: Redis, prefix: &str, process: Uuid, release: &str) -> Self {
        let process = format!("{process}:");
        Self { redis, prefix: prefix.to_owned(), process, release: release.into() }
    }

    /// Adds a letter, unless one with its id is there already, in whatever state; that one notes when
    /// the new one is about another body. Once this returned, it survives a crash of Redis: in the
    /// same round trip Redis has said that it is durable.
    pub async fn push(
        &self,
        queue: Queue,
        letter: &Letter,
        now: DateTime<Utc>,
    ) -> Result<Pushed, PushError> {
        self.enter(queue, letter, now, Entry::Keeps).await
    }

    /// Adds the letter of a stored event. One that carries the event itself gives way to it, also a
    /// dead one, and one that somebody has in hand: they can no longer acknowledge it.
    pub async fn take_over(
        &self,
        queue: Queue,
        letter: &Letter,
        now: DateTime<Utc>,
    ) -> Result<Pushed, PushError> {
        self.enter(queue, letter, now, Entry::Replaces).await
    }

    /// Adds a letter that should be there, unless it is, or an operator deleted it.
    pub async fn rebuild(
        &self,
        queue: Queue,
        letter: &Letter,
        now: DateTime<Utc>,
    ) -> Result<Pushed, PushError> {
        self.enter(queue, letter, now, Entry::Rebuilds).await
    }

    /// Adds a letter that waits for an operator.
    pub async fn push_dead(
        &self,
        queue: Queue,
        letter: &Letter,
        now: DateTime<Utc>,
    ) -> Result<Pushed, PushError> {
        self.enter(queue, letter, now, Entry::IsDead).await
    }

    async fn enter(
        &self,
        queue: Queue,
        letter: &Letter,
        now: DateTime<Utc>,
        entry: Entry,
    ) -> Result<Pushed, PushError> {
        let pushed = tokio::time::timeout(PATIENCE, self.try_to_enter(queue, letter, now, entry));
        pushed.await.unwrap_or(Err(PushError::TimedOut))
    }

    async fn try_to_enter(
        &self,
        queue: Queue,
        letter: &Letter,
        now: DateTime<Utc>,
        entry: Entry,
    ) -> Result<Pushed, PushError> {
        let mut push = self.script(&[PUSH], queue, now);
        push.arg(&letter.id).arg(json(letter)?);
        push.arg(letter.next_attempt_at.timestamp_millis())
            .arg(letter.body_sha256.as_deref().unwrap_or_default())
            .arg(entry.word())
            .arg(VERSION);
        Face::of(letter).tell(&mut push);
        push.arg(&*self.release);
        let link = &self.redis.pushes;
        let (mut pushed, mut answers) = ask_durably(link, &push).await?;
        if pushed.as_ref().is_err_and(is_unknown)
            && let Some(full) = in_full(&push)
        {
            (pushed, answers) = ask_durably(link, &full).await?;
        }
        if let Err(error) = &pushed {
            link.judge(error)?;
        }
        let pushed = match pushed? {
            0 => Pushed::Known,
            1 => Pushed::New,
            _ => Pushed::Deleted,
        };
        match durability::judge(link, answers).await? {
            Durability::Always | Durability::Confirmable => Ok(pushed),
            Durability::Not(flaws) => Err(PushError::NotDurable { pushed, flaws }),
        }
    }
}

/// Puts a script and asks in the same round trip how durable that is.
async fn ask_durably(link: &Link, script: &Cmd) -> RedisResult<(RedisResult<u32>, Answers)> {
    let mut commands = redis::pipe();
    durability::ask(commands.ignore_errors().add_command(script.clone()));
    let (answer, info, fsync) = link.ask_all(&commands).await?;
    Ok((answer, (info, fsync)))
}

pub(super) fn json(letter: &Letter) -> RedisResult<String> {
    letter
        .to_json()
        .map_err(|error| (ErrorKind::Client, "unwritable letter", error.to_string()).into())
}

fn names(flaws: &[Flaw]) -> String {
    flaws.iter().map(|flaw| flaw.name()).collect::<Vec<_>>().join(", ")
}
