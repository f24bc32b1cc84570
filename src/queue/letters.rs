//! The dead-letter queues in Redis.
//!
//! A queue is seven keys. All times are milliseconds since 1970; all of a queue is in one slot.
//!
//! | `<prefix>:dlq:{<queue>}:…` | kind | holds |
//! |---|---|---|
//! | `letters` | hash | id → the letter, as JSON |
//! | `due` | sorted set | id → when it is to be tried: `ready` once that is past, `scheduled` before |
//! | `leased` | sorted set | id → when its lease ends: `in flight` |
//! | `leases` | hash | id → the token of whoever holds the lease |
//! | `deaths` | hash | id → how many workers died with it in their hands |
//! | `dead` | sorted set | id → when it was given up: only an operator moves it |
//! | `ages` | sorted set | id → when it was made, unless it is dead |
//!
//! Every letter is in `letters` and in exactly one of `due`, `leased` and `dead`. Each move is one
//! script, so nothing is ever between two places. Scripts are sent in full each time: there is no
//! cache of scripts whose loss would have to be survived. Nothing expires and nothing is trimmed.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use redis::{Cmd, ErrorKind, RedisError, RedisResult};
use uuid::Uuid;

use super::Redis;
use super::durability::{self, Answers, Durability, Flaw};
use super::letter::{Illegible, Letter};
use super::link::PATIENCE;

const PUSH: &str = include_str!("scripts/push.lua");
const TAKE: &str = include_str!("scripts/take.lua");
const ACKNOWLEDGE: &str = include_str!("scripts/acknowledge.lua");
const GIVE_BACK: &str = include_str!("scripts/give_back.lua");
const BURY: &str = include_str!("scripts/bury.lua");
const COUNT: &str = include_str!("scripts/count.lua");

/// What every script is given, in this order.
const KEYS: [&str; 7] = ["letters", "due", "leased", "leases", "deaths", "dead", "ages"];

/// One kind of things that we owe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queue {
    /// Events of the payment provider.
    Webhooks,
}

impl Queue {
    /// Every queue.
    pub const ALL: [Self; 1] = [Self::Webhooks];

    /// The name in keys, answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhooks => "webhooks",
        }
    }
}

/// The queues of one service.
#[derive(Clone)]
pub struct Letters {
    redis: Redis,
    prefix: String,
    /// What the tokens of this process begin with.
    process: String,
}

/// Whether a pushed letter gives way to one that is there, or the other way round.
const KEEPS: u32 = 0;
const REPLACES: u32 = 1;

/// What became of a letter that was pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// There was none with its id.
    New,
    /// There was one.
    Known,
}

/// Why a letter was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("Redis failed: {0}")]
    Redis(#[from] RedisError),
    #[error("Redis did not answer in time")]
    TimedOut,
    #[error("Redis may forget what it acknowledges: {}", names(.0))]
    NotDurable(Vec<Flaw>),
}

/// A letter that was taken for a replay. It stays in Redis until it is settled; until the lease ends
/// nobody else gets it.
#[must_use]
pub struct InHand {
    pub content: Content,
    /// How many workers died with it in their hands since one last gave it back.
    pub deaths: u32,
    id: Vec<u8>,
    token: String,
    written: Vec<u8>,
}

impl InHand {
    /// The letter's id, for people.
    pub fn id(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.id)
    }
}

/// What a letter turned out to be.
#[derive(Debug)]
pub enum Content {
    Letter(Box<Letter>),
    /// A newer version of us wrote it.
    Newer,
    Unreadable,
}

/// How many letters there are in each state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    pub ready: u64,
    pub scheduled: u64,
    pub in_flight: u64,
    pub dead: u64,
    /// When the oldest that is not dead was made.
    pub oldest_at: Option<DateTime<Utc>>,
}

impl Counts {
    /// How many are unresolved, the dead included: what is owed does not shrink by giving up.
    pub fn depth(&self) -> u64 {
        self.ready + self.scheduled + self.in_flight + self.dead
    }
}

impl Letters {
    /// The queues whose keys begin with `prefix`, as this start of this process sees them.
    pub fn new(redis: Redis, prefix: &str, process: Uuid) -> Self {
        Self { redis, prefix: prefix.to_owned(), process: format!("{process}:") }
    }

    /// Adds a letter, unless one with its id is there already, in whatever state; that one notes when
    /// the new one is about another body. Once this returned, it survives a crash of Redis: in the
    /// same round trip Redis has said that it is durable.
    pub async fn push(&self, queue: Queue, letter: &Letter) -> Result<Pushed, PushError> {
        let pushed = tokio::time::timeout(PATIENCE, self.try_to_push(queue, letter, KEEPS));
        pushed.await.unwrap_or(Err(PushError::TimedOut))
    }

    /// Adds the letter of a stored event. One that carries the event itself gives way to it, also a
    /// dead one, and one that somebody has in hand: they can no longer acknowledge it.
    pub async fn take_over(&self, queue: Queue, letter: &Letter) -> Result<Pushed, PushError> {
        let pushed = tokio::time::timeout(PATIENCE, self.try_to_push(queue, letter, REPLACES));
        pushed.await.unwrap_or(Err(PushError::TimedOut))
    }

    async fn try_to_push(
        &self,
        queue: Queue,
        letter: &Letter,
        replaces: u32,
    ) -> Result<Pushed, PushError> {
        let mut commands = redis::pipe();
        let mut push = self.script(PUSH, queue);
        push.arg(&letter.id).arg(json(letter)?);
        push.arg(letter.next_attempt_at.timestamp_millis())
            .arg(letter.created_at.timestamp_millis())
            .arg(letter.body_sha256.as_deref().unwrap_or_default())
            .arg(replaces);
        durability::ask(commands.ignore_errors().add_command(push));
        let link = &self.redis.pushes;
        let (pushed, info, fsync): (RedisResult<u32>, _, _) = link.ask_all(&commands).await?;
        let pushed = if pushed? == 1 { Pushed::New } else { Pushed::Known };
        let answers: Answers = (info, fsync);
        match durability::judge(link, answers).await? {
            Durability::Always | Durability::Confirmable => Ok(pushed),
            Durability::Not(flaws) => Err(PushError::NotDurable(flaws)),
        }
    }

    /// Leases up to `limit` letters that are due, longest first. Leases that ended come back before; a
    /// letter whose worker died comes alone.
    pub async fn take(
        &self,
        queue: Queue,
        now: DateTime<Utc>,
        lease: TimeDelta,
        limit: usize,
    ) -> RedisResult<Vec<InHand>> {
        let token = format!("{}{}", self.process, Uuid::new_v4());
        let mut take = self.script(TAKE, queue);
        take.arg(now.timestamp_millis()).arg((now + lease).timestamp_millis());
        take.arg(&token).arg(&self.process).arg(limit);
        let rows: Vec<(Vec<u8>, Vec<u8>, u32)> = self.redis.rest.ask(&take).await?;
        let in_hand = |(id, written, deaths): (Vec<u8>, Vec<u8>, u32)| InHand {
            id,
            content: Content::of(&written),
            deaths,
            token: token.clone(),
            written,
        };
        Ok(rows.into_iter().map(in_hand).collect())
    }

    /// Forgets a letter that was settled; `false` when its lease had ended, and then somebody else
    /// has it or had it.
    pub async fn acknowledge(&self, queue: Queue, in_hand: &InHand) -> RedisResult<bool> {
        let mut acknowledge = self.script(ACKNOWLEDGE, queue);
        self.redis.rest.ask(acknowledge.arg(&in_hand.id).arg(&in_hand.token)).await
    }

    /// Gives a letter back, due at `due_at`; without a `letter` as it was.
    pub async fn give_back(
        &self,
        queue: Queue,
        in_hand: &InHand,
        letter: Option<&Letter>,
        due_at: DateTime<Utc>,
    ) -> RedisResult<bool> {
        self.put(GIVE_BACK, queue, in_hand, letter, due_at).await
    }

    /// Gives a letter up; without a `letter` as it was.
    pub async fn bury(
        &self,
        queue: Queue,
        in_hand: &InHand,
        letter: Option<&Letter>,
        now: DateTime<Utc>,
    ) -> RedisResult<bool> {
        self.put(BURY, queue, in_hand, letter, now).await
    }

    async fn put(
        &self,
        script: &str,
        queue: Queue,
        in_hand: &InHand,
        letter: Option<&Letter>,
        at: DateTime<Utc>,
    ) -> RedisResult<bool> {
        let mut put = self.script(script, queue);
        put.arg(&in_hand.id).arg(&in_hand.token);
        match letter {
            Some(letter) => put.arg(json(letter)?),
            None => put.arg(&in_hand.written),
        };
        self.redis.rest.ask(put.arg(at.timestamp_millis())).await
    }

    /// How many letters there are.
    pub async fn count(&self, queue: Queue, now: DateTime<Utc>) -> RedisResult<Counts> {
        let mut count = self.script(COUNT, queue);
        let (ready, scheduled, in_flight, dead, oldest): (_, _, _, _, Option<i64>) =
            self.redis.rest.ask(count.arg(now.timestamp_millis())).await?;
        let oldest_at = oldest.and_then(DateTime::from_timestamp_millis);
        Ok(Counts { ready, scheduled, in_flight, dead, oldest_at })
    }

    fn script(&self, script: &str, queue: Queue) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(KEYS.len());
        for key in KEYS {
            command.arg(format!("{}:dlq:{{{}}}:{key}", self.prefix, queue.name()));
        }
        command
    }
}

impl Content {
    fn of(written: &[u8]) -> Self {
        match Letter::from_json(written) {
            Ok(letter) => Self::Letter(Box::new(letter)),
            Err(Illegible::Newer) => Self::Newer,
            Err(Illegible::Broken) => Self::Unreadable,
        }
    }
}

fn json(letter: &Letter) -> RedisResult<String> {
    letter
        .to_json()
        .map_err(|error| (ErrorKind::Client, "unwritable letter", error.to_string()).into())
}

fn names(flaws: &[Flaw]) -> String {
    flaws.iter().map(|flaw| flaw.name()).collect::<Vec<_>>().join(", ")
}
