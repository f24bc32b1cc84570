//! How a script is put to a queue: what it begins with, its keys, and what every script is told.

use chrono::{DateTime, Utc};
use redis::Cmd;

use super::letters::Letters;
use super::names::Queue;

const PRELUDE: &str = include_str!("scripts/prelude.lua");

/// What scripts that look through a queue have in common.
pub(super) const LOOKING: &str = include_str!("scripts/looking.lua");

/// The layout of our keys. The one before had no number.
const LAYOUT: &str = "2:";

impl Letters {
    /// The script, told what every script is told; its own arguments follow.
    pub(super) fn script(&self, parts: &[&str], queue: Queue, now: DateTime<Utc>) -> Cmd {
        let text = [&[PRELUDE], parts].concat().concat();
        let mut command = redis::cmd("EVAL");
        command.arg(text).arg(2).arg(self.key(queue, LAYOUT)).arg(self.key(queue, ""));
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
