//! Groups of letters that failed in the same way.

use chrono::{DateTime, Utc};
use redis::RedisResult;

use super::cursor::Cursor;
use super::letters::Letters;
use super::names::Queue;
use super::pages::Page;
use super::scripts::LOOKING;

const GROUPS: &str = include_str!("scripts/groups.lua");

/// Letters whose source, error class and error are the same, apart from what differs each time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its name.
    pub fingerprint: String,
    /// The class of their errors.
    pub error_class: String,
    /// The error of the first of them, without anything that must not leave.
    pub sample_error: String,
    /// How many letters it has now.
    pub count: u64,
    /// When the first of them failed.
    pub first_seen_at: DateTime<Utc>,
    /// When one of them failed last.
    pub last_seen_at: DateTime<Utc>,
    /// The release that saw it first.
    pub first_release: String,
    /// When one of its letters was given up for the first time.
    pub first_dead_at: Option<DateTime<Utc>>,
}

/// As the script tells a group: name, class, sample, release; first and last seen, first dead, count.
type Row = (String, String, String, String, i64, i64, i64, u64);

impl Group {
    fn new(row: Row) -> Self {
        let (fingerprint, error_class, sample_error, first_release, first, last, dead, count) = row;
        let time = |ms| DateTime::from_timestamp_millis(ms).unwrap_or_default();
        Self {
            fingerprint,
            error_class,
            sample_error,
            count,
            first_seen_at: time(first),
            last_seen_at: time(last),
            first_release,
            first_dead_at: (dead != 0).then(|| time(dead)),
        }
    }
}

impl Letters {
    /// The groups that have letters, seen first first.
    pub async fn groups(
        &self,
        queue: Queue,
        after: Option<&Cursor>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> RedisResult<Page<Group>> {
        let mut ask = self.script(&[LOOKING, GROUPS], queue, now);
        match after {
            Some(place) => ask.arg(place.at_ms).arg(&place.id),
            None => ask.arg("").arg(""),
        };
        let (rows, follows): (Vec<Row>, bool) = self.redis.rest.ask(ask.arg(limit)).await?;
        let items: Vec<_> = rows.into_iter().map(Group::new).collect();
        let last = items.last().filter(|_| follows);
        let next = last.map(|group| Cursor {
            at_ms: group.first_seen_at.timestamp_millis(),
            id: group.fingerprint.clone().into_bytes(),
        });
        Ok(Page { items, next })
    }
}
