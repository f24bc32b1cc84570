//! Upkeep of a queue: the bin, groups of the past, and letters of the layout before this one.

use chrono::{DateTime, TimeDelta, Utc};
use redis::RedisResult;

use super::face::Face;
use super::letters::Letters;
use super::names::Queue;
use super::work::Content;

const TIDY: &str = include_str!("scripts/tidy.lua");
const LIST_OLD: &str = include_str!("scripts/list_old.lua");
const BRING_OVER: &str = include_str!("scripts/bring_over.lua");

/// How long what was deleted can be restored, and a group without letters is remembered.
pub const KEPT: TimeDelta = TimeDelta::days(30);

/// A letter of the previous layout: id, letter, due at, made at, where it returns to.
type Old = (Vec<u8>, Vec<u8>, i64, i64, String);

impl Letters {
    /// Brings some letters over from the previous layout, and forgets some of what has been in the bin for
    /// too long; tells how many, and is to be asked again while there were any.
    pub async fn tidy(&self, queue: Queue, now: DateTime<Utc>) -> RedisResult<u64> {
        let mut tidy = self.script(&[TIDY], queue, now);
        tidy.arg((now - KEPT).timestamp_millis());
        let forgotten: u64 = self.redis.rest.ask(&tidy).await?;
        Ok(forgotten + self.bring_over(queue, now).await?)
    }

    /// A letter that changes in between is brought over next time. Each is in one layout or the other.
    async fn bring_over(&self, queue: Queue, now: DateTime<Utc>) -> RedisResult<u64> {
        let old: Vec<Old> = self.redis.rest.ask(&self.script(&[LIST_OLD], queue, now)).await?;
        if old.is_empty() {
            return Ok(0);
        }
        let mut bring = self.script(&[BRING_OVER], queue, now);
        bring.arg(&*self.release);
        for (id, written, due, made, place) in old {
            let face = Face::of_content(&Content::of(&written), made);
            bring.arg(id).arg(written).arg(due).arg(place);
            face.tell(&mut bring);
        }
        self.redis.rest.ask(&bring).await
    }
}
