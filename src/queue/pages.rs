//! Looking at letters: pages over all of a queue, by what an operator knows of them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use redis::{Cmd, FromRedisValue, RedisResult};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::cursor::Cursor;
use super::face::{request, word};
use super::letters::Letters;
use super::names::{Queue, State};
use super::scripts::LOOKING;
use super::work::Content;

const WALK: &str = include_str!("scripts/walk.lua");
const GET: &str = include_str!("scripts/get.lua");

/// How many letters one script looks at.
const LOOKS: usize = 250;

/// For how long more is looked for before a page is given that is not full.
const BUDGET: Duration = Duration::from_millis(250);

/// What letters are looked for; what is not said matches all.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// In any of these; without any in all.
    pub states: Vec<State>,
    /// With this class of error.
    pub error_class: Option<String>,
    /// From this source.
    pub source: Option<String>,
    /// The fingerprint of a group.
    pub group: Option<String>,
    /// Brought about by this request.
    pub request_id: Option<String>,
    /// Made before.
    pub older_than: Option<DateTime<Utc>>,
    /// Those that had come when this was the high water.
    pub mark: Option<u64>,
}

/// A part of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// Where it goes on. Also a page that is short, or empty, may have a next one: the time for it was
    /// over.
    pub next: Option<Cursor>,
}

/// A letter as an operator sees it.
#[derive(Debug)]
pub struct Entry {
    /// The same debt has the same id.
    pub id: String,
    /// Where it is.
    pub state: State,
    /// What is written.
    pub content: Content,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it is tried, if it is scheduled.
    pub due_at: Option<DateTime<Utc>>,
    /// When its lease ends, if it is in flight.
    pub lease_until: Option<DateTime<Utc>>,
    /// How many workers died with it in their hands.
    pub deaths: u32,
    /// Who failed.
    pub source: String,
    /// The class of the error.
    pub error_class: String,
    /// The fingerprint of its group.
    pub group: String,
    /// The request that brought it about.
    pub request_id: String,
}

/// How many letters match.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Matching {
    /// So many were counted.
    pub at_least: u64,
    /// Whether it is exactly so many.
    pub is_exact: bool,
}

/// As scripts tell a letter: id, state, due or lease until, letter, deaths, made at, class, source,
/// group, request.
type Row = ((Vec<u8>, String, Option<i64>, Vec<u8>, u32), (i64, String, String, String, String));

/// Where a script stopped.
type Stop = Option<(i64, Vec<u8>)>;

impl Entry {
    fn new(row: Row) -> Self {
        let ((id, state, at, written, deaths), face) = row;
        let (created_ms, error_class, source, group, request_id) = face;
        // Scripts name no other state.
        let state = State::named(&state).unwrap_or(State::Dead);
        let at = at.and_then(DateTime::from_timestamp_millis);
        Self {
            id: String::from_utf8_lossy(&id).into_owned(),
            state,
            content: Content::of(&written),
            created_at: DateTime::from_timestamp_millis(created_ms).unwrap_or_default(),
            due_at: at.filter(|_| state == State::Scheduled),
            lease_until: at.filter(|_| state == State::InFlight),
            deaths,
            source,
            error_class,
            group,
            request_id,
        }
    }
}

impl Letters {
    /// Letters that match, oldest first, behind a place. Letters that move meanwhile are neither skipped
    /// nor told twice.
    pub async fn page(
        &self,
        queue: Queue,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> RedisResult<Page<Entry>> {
        let found = self.walk(("letters", queue), filter, after, limit, now).await?;
        let (rows, next): (Vec<Row>, _) = found;
        Ok(Page { items: rows.into_iter().map(Entry::new).collect(), next })
    }

    /// The same without reading the letters.
    pub async fn page_ids(
        &self,
        queue: Queue,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> RedisResult<Page<String>> {
        let Page { items, next } = self.page_places(queue, filter, after, limit, now).await?;
        Ok(Page { items: items.iter().map(Cursor::id).collect(), next })
    }

    pub(super) async fn page_places(
        &self,
        queue: Queue,
        filter: &Filter,
        after: Option<&Cursor>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> RedisResult<Page<Cursor>> {
        let found = self.walk(("ids", queue), filter, after, limit, now).await?;
        let (rows, next): (Vec<(Vec<u8>, i64)>, _) = found;
        let items = rows.into_iter().map(|(id, at_ms)| Cursor { at_ms, id }).collect();
        Ok(Page { items, next })
    }

    async fn walk<T: FromRedisValue>(
        &self,
        (what, queue): (&str, Queue),
        filter: &Filter,
        after: Option<&Cursor>,
        limit: usize,
        now: DateTime<Utc>,
    ) -> RedisResult<(Vec<T>, Option<Cursor>)> {
        let (began, mut found, mut place) = (Instant::now(), Vec::new(), after.cloned());
        loop {
            let mut walk = self.script(&[LOOKING, WALK], queue, now);
            walk.arg(what).arg(limit - found.len()).arg(LOOKS);
            tell(&mut walk, place.as_ref(), filter);
            let (told, _, stop): (Vec<T>, u64, Stop) = self.redis.rest.ask(&walk).await?;
            found.extend(told);
            place = stop.map(|(at_ms, id)| Cursor { at_ms, id });
            if place.is_none() || found.len() >= limit || began.elapsed() > BUDGET {
                return Ok((found, place));
            }
        }
    }

    /// How many letters match: exactly where the time for counting them suffices.
    pub async fn count_matching(
        &self,
        queue: Queue,
        filter: &Filter,
        now: DateTime<Utc>,
    ) -> RedisResult<Matching> {
        let (began, mut at_least, mut place) = (Instant::now(), 0, None);
        loop {
            let mut walk = self.script(&[LOOKING, WALK], queue, now);
            walk.arg("count").arg(0).arg(4 * LOOKS);
            tell(&mut walk, place.as_ref(), filter);
            let (_, count, stop): (Vec<Vec<u8>>, u64, Stop) = self.redis.rest.ask(&walk).await?;
            at_least += count;
            place = stop.map(|(at_ms, id)| Cursor { at_ms, id });
            if place.is_none() || began.elapsed() > BUDGET {
                return Ok(Matching { at_least, is_exact: place.is_none() });
            }
        }
    }

    /// One letter.
    pub async fn get(
        &self,
        queue: Queue,
        id: &str,
        now: DateTime<Utc>,
    ) -> RedisResult<Option<Entry>> {
        let mut get = self.script(&[LOOKING, GET], queue, now);
        let row: Option<Row> = self.redis.rest.ask(get.arg(id)).await?;
        Ok(row.map(Entry::new))
    }

    /// How many letters have ever come. What comes from now on is above it: the mark of whoever means
    /// only what is there.
    pub async fn high_water(&self, queue: Queue) -> RedisResult<u64> {
        let mut get = redis::cmd("GET");
        let number: Option<u64> =
            self.redis.rest.ask(get.arg(self.own_key(queue, "number"))).await?;
        Ok(number.unwrap_or_default())
    }
}

/// A place and a filter, as the script takes them.
fn tell(walk: &mut Cmd, after: Option<&Cursor>, filter: &Filter) {
    match after {
        Some(place) => walk.arg(place.at_ms).arg(&place.id),
        None => walk.arg("").arg(""),
    };
    let is_any = filter.states.is_empty();
    let states = State::ALL.map(|state| is_any || filter.states.contains(&state));
    walk.arg(states.map(|is_wanted| if is_wanted { "1" } else { "0" }).concat());
    for name in [&filter.error_class, &filter.source, &filter.group] {
        walk.arg(name.as_deref().map(word).unwrap_or_default());
    }
    walk.arg(filter.request_id.as_deref().map(request).unwrap_or_default());
    let before = filter.older_than.map(|time| time.timestamp_millis().to_string());
    let mark = filter.mark.map(|mark| mark.to_string());
    walk.arg(before.unwrap_or_default()).arg(mark.unwrap_or_default());
}
