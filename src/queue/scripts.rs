//! How a script is put to a queue: what it begins with, its keys, what every script is told, and what
//! happens when Redis does not know it.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use redis::{Arg, Cmd, ErrorKind, RedisError, ServerErrorKind};

use super::letters::Letters;
use super::names::Queue;

const PRELUDE: &str = include_str!("scripts/prelude.lua");

/// What scripts that look through a queue have in common.
pub(super) const LOOKING: &str = include_str!("scripts/looking.lua");

/// The layout of our keys. The one before had no number.
const LAYOUT: &str = "2:";

/// Every script that was put so far; there are a handful.
static SCRIPTS: RwLock<Vec<Arc<Script>>> = RwLock::new(Vec::new());

struct Script {
    parts: Vec<&'static str>,
    text: String,
    /// The name by which Redis knows it.
    digest: String,
}

impl Script {
    fn of(parts: &[&'static str]) -> Arc<Self> {
        if let Some(known) = Self::find(|script| script.parts == parts) {
            return known;
        }
        let text = [&[PRELUDE], parts].concat().concat();
        let digest = redis::Script::new(&text).get_hash().to_owned();
        let script = Arc::new(Self { parts: parts.to_vec(), text, digest });
        SCRIPTS.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&script));
        script
    }

    fn find(is_it: impl Fn(&Self) -> bool) -> Option<Arc<Self>> {
        let scripts = SCRIPTS.read().unwrap_or_else(PoisonError::into_inner);
        scripts.iter().find(|script| is_it(script)).cloned()
    }
}

impl Letters {
    /// The script, told what every script is told; its own arguments follow. Whoever puts it repeats it
    /// [`in_full`] to a Redis that does not know it.
    pub(super) fn script(&self, parts: &[&'static str], queue: Queue, now: DateTime<Utc>) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&Script::of(parts).digest);
        command.arg(2).arg(self.key(queue, LAYOUT)).arg(self.key(queue, ""));
        command.arg(now.timestamp_millis()).arg(&self.process);
        command
    }

    /// The name of one of our own keys.
    pub(super) fn own_key(&self, queue: Queue, part: &str) -> String {
        self.key(queue, LAYOUT) + part
    }

    fn key(&self, queue: Queue, part: &str) -> String {
        format!("{}:dlq:{{{}}}:{part}", self.prefix, queue.name())
    }
}

/// Whether Redis has never seen a script, or forgot it: at a restart, a failover, a `SCRIPT FLUSH`.
pub(super) fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// The same script with its text, from which Redis learns it; nothing if it is no script of ours.
pub(super) fn in_full(command: &Cmd) -> Option<Cmd> {
    let mut words = command.args_iter().filter_map(|word| match word {
        Arg::Simple(word) => Some(word),
        // Scripts are told nothing but words.
        Arg::Cursor | _ => None,
    });
    let digest = words.nth(1)?;
    let script = Script::find(|script| script.digest.as_bytes() == digest)?;
    let mut full = redis::cmd("EVAL");
    full.arg(&script.text);
    for word in words {
        full.arg(word);
    }
    Some(full)
}
