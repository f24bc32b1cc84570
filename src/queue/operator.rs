//! What an operator does to letters: delete, restore, edit. Nothing here is for good at once.

use chrono::{DateTime, Utc};
use redis::RedisResult;
use uuid::Uuid;

use super::letter::{Letter, Payload};
use super::letters::{Letters, json};
use super::names::Queue;
use super::work::Content;

const DELETE: &str = include_str!("scripts/delete.lua");
const RESTORE: &str = include_str!("scripts/restore.lua");
const EDIT: &str = include_str!("scripts/edit.lua");

/// How many letters one script moves.
const PAGE: usize = 200;

/// What became of an operator's word about one letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// As was said.
    Done,
    /// There is none with this id.
    Missing,
    /// Somebody has it in hand: in a moment it is somewhere else.
    InFlight,
    /// It is not what it would have to be, or no longer.
    Differs,
}

impl Change {
    const fn of(code: u32) -> Self {
        match code {
            0 => Self::Missing,
            1 => Self::Done,
            2 => Self::InFlight,
            _ => Self::Differs,
        }
    }
}

/// What became of a part of the bin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restored {
    /// What is in the queue again.
    pub restored: u64,
    /// What stays in the bin, because an entry with its id is in the queue again.
    pub skipped: u64,
    /// Whether this was the last part.
    pub is_over: bool,
}

impl Letters {
    /// Moves letters to the bin, from where they can be restored for thirty days. What is there already
    /// is done.
    pub async fn delete(
        &self,
        queue: Queue,
        ids: &[String],
        by: &str,
        now: DateTime<Utc>,
    ) -> RedisResult<Vec<Change>> {
        let mut delete = self.script(&[DELETE], queue, now);
        self.changes(delete.arg(by).arg(ids)).await
    }

    /// Takes letters out of the bin, each to the state that it had. One whose id is in the queue again
    /// differs: what is there stays.
    pub async fn restore(
        &self,
        queue: Queue,
        ids: &[String],
        now: DateTime<Utc>,
    ) -> RedisResult<Vec<Change>> {
        let mut restore = self.script(&[RESTORE], queue, now);
        restore.arg(Uuid::new_v4().as_bytes());
        self.changes(restore.arg("").arg("").arg(ids)).await
    }

    /// Takes some hundred letters out of the bin, deleted longest ago first. Whoever wants all goes on
    /// with the sum of what was `skipped`.
    pub async fn restore_page(
        &self,
        queue: Queue,
        skip: u64,
        now: DateTime<Utc>,
    ) -> RedisResult<Restored> {
        let mut restore = self.script(&[RESTORE], queue, now);
        restore.arg(Uuid::new_v4().as_bytes());
        let changes = self.changes(restore.arg(skip).arg(PAGE)).await?;
        let (mut restored, mut skipped) = (0, 0);
        for change in &changes {
            match change {
                Change::Done => restored += 1,
                Change::Missing | Change::InFlight | Change::Differs => skipped += 1,
            }
        }
        Ok(Restored { restored, skipped, is_over: changes.len() < PAGE })
    }

    /// Writes the body of a job anew. What it was first stays with it. Anything else than a job differs.
    pub async fn edit(
        &self,
        queue: Queue,
        id: &str,
        body: &str,
        now: DateTime<Utc>,
    ) -> RedisResult<Change> {
        let mut read = redis::cmd("HGET");
        let written: Option<Vec<u8>> =
            self.redis.rest.ask(read.arg(self.own_key(queue, "letters")).arg(id)).await?;
        let Some(written) = written else { return Ok(Change::Missing) };
        let Content::Letter(letter) = Content::of(&written) else { return Ok(Change::Differs) };
        let Some(edited) = edited(*letter, body) else { return Ok(Change::Differs) };
        let mut edit = self.script(&[EDIT], queue, now);
        edit.arg(id).arg(&written).arg(json(&edited)?);
        let code: u32 = self.redis.rest.ask(&edit).await?;
        Ok(Change::of(code))
    }

    async fn changes(&self, script: &redis::Cmd) -> RedisResult<Vec<Change>> {
        let codes: Vec<u32> = self.redis.rest.ask(script).await?;
        Ok(codes.into_iter().map(Change::of).collect())
    }
}

fn edited(mut letter: Letter, body: &str) -> Option<Letter> {
    let Payload::Job { .. } = letter.payload else { return None };
    let was = std::mem::replace(&mut letter.payload, Payload::Job { body: body.to_owned() });
    letter.original.get_or_insert(was);
    Some(letter)
}
