//! Letters in hand: taken under a lease, kept, and settled by whoever holds the token.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use redis::RedisResult;
use uuid::Uuid;

use super::cursor::Cursor;
use super::face::Face;
use super::letter::{Illegible, Letter};
use super::letters::{Letters, json};
use super::names::{Queue, State};
use super::pages::{Filter, Page};

const TAKE: &str = include_str!("scripts/take.lua");
const TAKE_THESE: &str = include_str!("scripts/take_these.lua");
const SETTLE: &str = include_str!("scripts/settle.lua");

/// A letter that was taken for a replay. It stays in Redis until it is settled; until the lease ends
/// nobody else gets it.
#[must_use]
pub struct InHand {
    /// What is owed.
    pub content: Content,
    /// How many workers died with it in their hands since one last gave it back.
    pub deaths: u32,
    /// Where it returns to when its lease ends.
    pub from: Origin,
    id: Vec<u8>,
    token: String,
}

/// Where a letter was when it was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// It was ready or scheduled.
    Waiting,
    /// It had been given up: unless it succeeds it goes back there, if nobody says otherwise.
    Dead,
}

/// Which letters an operator means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Those that are ready or scheduled.
    Waiting,
    /// Also the dead.
    AlsoDead,
}

/// What was taken of the letters that were asked for. One that is gone, dead or in other hands is in
/// neither list.
pub struct Taken {
    /// What was taken.
    pub in_hand: Vec<InHand>,
    /// To be asked for again: one has to be alone in its worker's hands.
    pub left: Vec<String>,
}

/// What a letter turned out to be.
#[derive(Debug)]
pub enum Content {
    /// It can be read.
    Letter(Box<Letter>),
    /// A newer version of us wrote it.
    Newer,
    /// Nobody can read it.
    Unreadable,
}

/// What becomes of a letter in hand.
#[derive(Clone, Copy)]
pub enum Verdict<'a> {
    /// It was settled: it is forgotten.
    Done,
    /// It is due again at `due_at`; without a `letter` as it was.
    Back {
        /// As it is from now on.
        letter: Option<&'a Letter>,
        /// When it is tried again.
        due_at: DateTime<Utc>,
    },
    /// It is given up; without a `letter` as it was.
    Dead {
        /// As it is from now on.
        letter: Option<&'a Letter>,
    },
}

/// A letter as scripts hand it out: id, letter, deaths, where from.
type Row = (Vec<u8>, Vec<u8>, u32, String);

impl InHand {
    /// The letter's id, for people.
    pub fn id(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.id)
    }

    fn new((id, written, deaths, from): Row, token: &str) -> Self {
        let token = format!("{from}{token}");
        let from = if from == "d" { Origin::Dead } else { Origin::Waiting };
        Self { content: Content::of(&written), deaths, from, id, token }
    }
}

impl Content {
    pub(super) fn of(written: &[u8]) -> Self {
        match Letter::from_json(written) {
            Ok(letter) => Self::Letter(Box::new(letter)),
            Err(Illegible::Newer) => Self::Newer,
            Err(Illegible::Broken) => Self::Unreadable,
        }
    }
}

impl Letters {
    /// Leases up to `limit` letters that are due, longest first, unless the queue is paused. Leases that
    /// ended come back before; a letter whose worker died comes alone.
    pub async fn take(
        &self,
        queue: Queue,
        now: DateTime<Utc>,
        lease: TimeDelta,
        limit: usize,
    ) -> RedisResult<Vec<InHand>> {
        let token = self.token();
        let mut take = self.script(&[TAKE], queue, now);
        take.arg((now + lease).timestamp_millis()).arg(&token).arg(limit);
        let rows: Vec<Row> = self.redis.rest.ask(&take).await?;
        Ok(rows.into_iter().map(|row| InHand::new(row, &token)).collect())
    }

    /// Leases these letters by an operator's word, also while the queue is paused.
    pub async fn take_these(
        &self,
        queue: Queue,
        ids: &[String],
        reach: Reach,
        now: DateTime<Utc>,
        lease: TimeDelta,
    ) -> RedisResult<Taken> {
        let token = self.token();
        let mut take = self.script(&[TAKE_THESE], queue, now);
        take.arg((now + lease).timestamp_millis()).arg(&token);
        take.arg(if reach == Reach::AlsoDead { "dead" } else { "" }).arg(ids);
        let (rows, left): (Vec<Row>, Vec<String>) = self.redis.rest.ask(&take).await?;
        let in_hand = rows.into_iter().map(|row| InHand::new(row, &token)).collect();
        Ok(Taken { in_hand, left })
    }

    /// Leases up to `limit` letters that are ready or scheduled, oldest first, that come behind `after`
    /// and are not above the `mark`: who goes on behind where the page ended takes each at most once.
    pub async fn take_waiting(
        &self,
        queue: Queue,
        now: DateTime<Utc>,
        lease: TimeDelta,
        limit: usize,
        after: Option<&Cursor>,
        mark: Option<u64>,
    ) -> RedisResult<Page<InHand>> {
        let states = vec![State::Ready, State::Scheduled];
        let filter = Filter { states, mark, ..Filter::default() };
        let page = self.take_matching(queue, &filter, now, lease, limit, after).await?;
        let items = page.items.into_iter().map(|(in_hand, _)| in_hand).collect();
        Ok(Page { items, next: page.next })
    }

    /// Leases letters that match, oldest first, that come behind `after`, each with the place behind it.
    /// The dead are among them, unless the filter names only other states.
    pub async fn take_matching(
        &self,
        queue: Queue,
        filter: &Filter,
        now: DateTime<Utc>,
        lease: TimeDelta,
        limit: usize,
        after: Option<&Cursor>,
    ) -> RedisResult<Page<(InHand, Cursor)>> {
        let reach = if filter.states.is_empty() || filter.states.contains(&State::Dead) {
            Reach::AlsoDead
        } else {
            Reach::Waiting
        };
        let found = self.page_places(queue, filter, after, limit, now).await?;
        let ids: Vec<_> = found.items.iter().map(Cursor::id).collect();
        let taken = self.take_these(queue, &ids, reach, now, lease).await?;
        let next = match taken.left.first().and_then(|left| ids.iter().position(|id| id == left)) {
            // Somebody is before it, or it would not have been left.
            Some(left) => left.checked_sub(1).and_then(|at| found.items.get(at)).cloned(),
            None => found.next,
        };
        let mut places = found.items.into_iter();
        let items = taken.in_hand.into_iter().filter_map(|in_hand| {
            let place = places.find(|place| place.id == in_hand.id)?;
            Some((in_hand, place))
        });
        Ok(Page { items: items.collect(), next })
    }

    /// Ends leases, in one round trip; `false` for one that had ended, and then somebody else has the
    /// letter or had it.
    pub async fn settle(
        &self,
        queue: Queue,
        now: DateTime<Utc>,
        verdicts: &[(&InHand, Verdict<'_>)],
    ) -> RedisResult<Vec<bool>> {
        let mut settle = self.script(&[SETTLE], queue, now);
        settle.arg(&*self.release);
        for (held, verdict) in verdicts {
            let (word, letter, due_at) = match verdict {
                Verdict::Done => ("done", None, now),
                Verdict::Back { letter, due_at } => ("back", *letter, *due_at),
                Verdict::Dead { letter } => ("dead", *letter, now),
            };
            settle.arg(&held.id).arg(&held.token).arg(word);
            settle.arg(letter.map(json).transpose()?.unwrap_or_default());
            settle.arg(due_at.timestamp_millis());
            match letter {
                Some(letter) => Face::of(letter).tell(&mut settle),
                None => Face::none(&mut settle),
            }
        }
        self.redis.rest.ask(&settle).await
    }

    /// What the tokens of this process begin with, and something that nobody has used.
    fn token(&self) -> String {
        format!("{}{}", self.process, Uuid::new_v4())
    }
}
