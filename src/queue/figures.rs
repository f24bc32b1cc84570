//! The figures of a queue, and whether workers may take from it.

use chrono::{DateTime, Utc};
use redis::RedisResult;
use serde::{Deserialize, Serialize};

use super::letters::Letters;
use super::names::Queue;

const COUNT: &str = include_str!("scripts/count.lua");

/// How many letters there are in each state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// A worker may take them.
    pub ready: u64,
    /// They are not due yet.
    pub scheduled: u64,
    /// Somebody has them in hand.
    pub in_flight: u64,
    /// They were given up.
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

/// What an operator wants to know of a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stats {
    /// How many letters there are.
    pub counts: Counts,
    /// When the oldest that is dead was made.
    pub oldest_dead_at: Option<DateTime<Utc>>,
    /// What failed last.
    pub last: Option<Last>,
    /// How many deleted letters can still be restored.
    pub binned: u64,
    /// Who paused it, if somebody did.
    pub paused: Option<Pause>,
}

/// The last failure that brought a letter into the queue, or kept it there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Last {
    /// Without anything that must not leave.
    pub error: String,
    /// The class of the error.
    pub error_class: String,
    /// Who failed.
    pub source: String,
    /// When that was.
    pub at: DateTime<Utc>,
}

/// Who told the workers to leave a queue alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pause {
    /// Who it was.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When that was.
    pub at: DateTime<Utc>,
}

/// As the script tells them: how many; oldest ones; what failed last; binned; paused.
type Figures = ((u64, u64, u64, u64), Times, [Option<String>; 4], u64, [Option<String>; 3]);
type Times = (Option<i64>, Option<i64>);

impl Letters {
    /// How many letters there are.
    pub async fn count(&self, queue: Queue, now: DateTime<Utc>) -> RedisResult<Counts> {
        Ok(self.stats(queue, now).await?.counts)
    }

    /// The figures of a queue.
    pub async fn stats(&self, queue: Queue, now: DateTime<Utc>) -> RedisResult<Stats> {
        let figures: Figures = self.redis.rest.ask(&self.script(&[COUNT], queue, now)).await?;
        let ((ready, scheduled, in_flight, dead), (oldest, oldest_dead), last, binned, paused) =
            figures;
        let time = |ms: Option<i64>| ms.and_then(DateTime::from_timestamp_millis);
        let counts = Counts { ready, scheduled, in_flight, dead, oldest_at: time(oldest) };
        let last = match last {
            [Some(error), Some(error_class), Some(source), Some(at)] => {
                parse_time(&at).map(|at| Last { error, error_class, source, at })
            }
            _ => None,
        };
        let paused = read_pause(paused);
        Ok(Stats { counts, oldest_dead_at: time(oldest_dead), last, binned, paused })
    }

    /// Lets workers take nothing from a queue until somebody resumes it.
    pub async fn pause(&self, queue: Queue, pause: &Pause) -> RedisResult<()> {
        let mut set = redis::cmd("HSET");
        set.arg(self.own_key(queue, "paused")).arg("by").arg(&pause.by);
        set.arg("reason").arg(&pause.reason).arg("at").arg(pause.at.timestamp_millis());
        let _added: u64 = self.redis.rest.ask(&set).await?;
        Ok(())
    }

    /// Lets workers take again; `false` when the queue was not paused.
    pub async fn resume(&self, queue: Queue) -> RedisResult<bool> {
        let mut delete = redis::cmd("DEL");
        self.redis.rest.ask(delete.arg(self.own_key(queue, "paused"))).await
    }

    /// Who paused a queue.
    pub async fn paused(&self, queue: Queue) -> RedisResult<Option<Pause>> {
        let mut get = redis::cmd("HMGET");
        get.arg(self.own_key(queue, "paused")).arg("by").arg("reason").arg("at");
        Ok(read_pause(self.redis.rest.ask(&get).await?))
    }
}

fn read_pause(fields: [Option<String>; 3]) -> Option<Pause> {
    let [Some(by), Some(reason), Some(at)] = fields else { return None };
    parse_time(&at).map(|at| Pause { by, reason, at })
}

fn parse_time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(text.parse().ok()?)
}
