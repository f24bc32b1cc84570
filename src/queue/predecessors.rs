//! The lists of the predecessors in the same Redis: found, read from their old end, and moved over here
//! entry by entry. What an entry means is not known here.

use chrono::{DateTime, Utc};
use redis::RedisResult;

use super::face::Face;
use super::letter::Letter;
use super::letters::{Letters, json};
use super::names::Queue;

const TAIL: &str = include_str!("scripts/tail.lua");
const ADOPT: &str = include_str!("scripts/adopt.lua");

/// What the names of their lists begin with. Ours begin with something else before it.
const NAMES: &str = "dlq:";

/// How many keys are looked at in one go.
const KEYS: usize = 1_000;

/// How many entries are read in one go; after the first one, not more bytes than that.
const ENTRIES: usize = 50;
const BYTES: usize = 1 << 20;

/// A list of a predecessor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OldList {
    key: Vec<u8>,
}

/// The entries at the old end of a list.
#[derive(Debug)]
pub struct Tail {
    /// How many there are in all.
    pub length: u64,
    /// Oldest first.
    pub entries: Vec<Vec<u8>>,
}

/// What an entry becomes.
#[derive(Debug)]
pub enum Adoption {
    /// A letter that waits as any other. If it is here already, the entry is the same thing and goes.
    Owed(Letter),
    /// A letter of its own, that waits for an operator.
    Dead(Letter),
}

impl OldList {
    /// What it is called behind the part that all have in common.
    pub fn name(&self) -> String {
        let name = self.key.strip_prefix(NAMES.as_bytes()).unwrap_or(&self.key);
        String::from_utf8_lossy(name).into_owned()
    }
}

impl Letters {
    /// Looks at some keys of Redis, from `cursor` on: where to go on, zero after the last, and the lists
    /// among them. A list that is there from the first call to the last is found.
    pub async fn find_old_lists(&self, cursor: u64) -> RedisResult<(u64, Vec<OldList>)> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{NAMES}*"));
        scan.arg("COUNT").arg(KEYS).arg("TYPE").arg("list");
        let (next, keys): (u64, Vec<Vec<u8>>) = self.redis.rest.ask(&scan).await?;
        Ok((next, keys.into_iter().map(|key| OldList { key }).collect()))
    }

    /// Reads the oldest entries of a list, and leaves them there.
    pub async fn tail(&self, list: &OldList) -> RedisResult<Tail> {
        let mut tail = redis::cmd("EVAL");
        tail.arg(TAIL).arg(1).arg(&list.key).arg(ENTRIES).arg(BYTES);
        let (length, entries) = self.redis.rest.ask(&tail).await?;
        Ok(Tail { length, entries })
    }

    /// Moves entries of a list here, as letters; tells how many. Those that somebody else has moved
    /// meanwhile are left out; whoever dies in between has moved all of them or none.
    pub async fn adopt(
        &self,
        list: &OldList,
        queue: Queue,
        entries: &[(Vec<u8>, Adoption)],
        now: DateTime<Utc>,
    ) -> RedisResult<u64> {
        let mut adopt = self.script(&[ADOPT], queue, now);
        adopt.arg(&list.key).arg(&*self.release);
        for (entry, adoption) in entries {
            let (letter, place) = match adoption {
                Adoption::Owed(letter) => (letter, "w"),
                Adoption::Dead(letter) => (letter, "d"),
            };
            adopt.arg(entry).arg(&letter.id).arg(json(letter)?);
            adopt.arg(letter.next_attempt_at.timestamp_millis()).arg(place);
            Face::of(letter).tell(&mut adopt);
        }
        self.redis.rest.ask(&adopt).await
    }
}
