//! Carry out redrives, a page at a time: whoever comes takes the one that is due for longest, with a
//! lease that outlasts those of its letters, so that whoever goes on behind a process that died finds
//! them where they were.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use super::Redrives;
use crate::clients::BREAKER_OPEN;
use crate::db;
use crate::db::redrives::{Progress, Redrive};
use crate::domain::redrive::{Pace, RedriveStatus, Tally, is_hopeless};
use crate::faults;
use crate::flows::letters::debts::NO_HANDLER;
use crate::flows::letters::handler::{AWAY, NOT_CONFIGURED};
use crate::flows::letters::replay_letter::{Outcome, Replayed};
use crate::queue::{Cursor, Filter, InHand, Page, Queue};

/// Letters of one page: as many as one script looks at.
const PAGE: usize = 250;

/// For how long letters of a page are begun.
const GO: Duration = Duration::from_secs(10);

/// How long a redrive rests when something was away.
const REST: Duration = Duration::from_secs(5);

/// Why a page ended before its letters did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Its time was over.
    Late,
    /// Nothing can be written: those that were held are tried again.
    Storage,
    /// Something is away that may be back in a moment.
    Rest,
    /// It gave up.
    Stop(&'static str),
}

/// How a page is going.
struct Going<'a> {
    redrive: &'a Redrive,
    began: Instant,
    patience: Duration,
    tally: Tally,
    /// Of those that were held, how many came last.
    trailing: u64,
    end: Option<End>,
}

impl Redrives {
    /// Takes one redrive a page further; `false` when none is due.
    pub async fn step(&self) -> anyhow::Result<bool> {
        let (now, token) = (self.clock.now(), Uuid::new_v4());
        let until = now + self.replay.lease + self.replay.lease;
        let claimed = db::in_time(db::redrives::claim(&self.db, token, now, until)).await?;
        let Some(redrive) = claimed else { return Ok(false) };
        faults::step("redrive_claimed");
        let queue = Queue::named(&redrive.queue).context("a redrive of an unknown queue")?;
        let page = self.take(queue, &redrive).await?;
        let (letters, places): (Vec<InHand>, Vec<Cursor>) = page.items.into_iter().unzip();
        let going = self.replay(queue, &redrive, &letters).await?;
        faults::step("redrive_unsaved");
        self.save(&redrive, token, &going, &places, page.next.as_ref()).await?;
        faults::step("redrive_saved");
        Ok(true)
    }

    async fn take(
        &self,
        queue: Queue,
        redrive: &Redrive,
    ) -> anyhow::Result<Page<(InHand, Cursor)>> {
        let filter: Filter = serde_json::from_value(redrive.filter.clone())?;
        let mark = Some(u64::try_from(redrive.mark).unwrap_or_default());
        let cursor = redrive.cursor.as_deref().map(str::parse::<Cursor>).transpose()?;
        let (now, lease) = (self.clock.now(), self.replay.lease);
        let is_first = redrive.one_first && tried(redrive) == 0;
        let limit = if is_first || self.replay.holds.is_held(queue) {
            1
        } else {
            let places = pace(redrive).places(due_since(redrive, now), now);
            usize::try_from(places).unwrap_or(PAGE).min(PAGE)
        };
        let filter = Filter { mark, ..filter };
        let letters = &self.replay.letters;
        let after = cursor.as_ref();
        let page = letters.take_matching(queue, &filter, now, lease, limit, after).await?;
        if !page.items.is_empty() {
            faults::step("redrive_taken");
        }
        Ok(page)
    }

    async fn replay<'a>(
        &self,
        queue: Queue,
        redrive: &'a Redrive,
        taken: &[InHand],
    ) -> anyhow::Result<Going<'a>> {
        let patience = self.replay.lease.to_std().unwrap_or_default() / 3;
        let mut going = Going {
            redrive,
            began: Instant::now(),
            patience: patience.min(GO),
            tally: Tally::default(),
            trailing: 0,
            end: None,
        };
        let taken: Vec<_> = taken.iter().collect();
        self.replay.replay_while(queue, &taken, |replayed| going.goes_on(replayed)).await?;
        Ok(going)
    }

    async fn save(
        &self,
        redrive: &Redrive,
        token: Uuid,
        going: &Going<'_>,
        places: &[Cursor],
        next: Option<&Cursor>,
    ) -> anyhow::Result<()> {
        let now = self.clock.now();
        let tally = going.passed();
        let passed = usize::try_from(tally.tried()).unwrap_or(usize::MAX);
        let is_whole = passed >= places.len();
        // A page without its last letters ends behind those that it is done with.
        let cursor =
            if is_whole { next } else { passed.checked_sub(1).and_then(|at| places.get(at)) };
        let cursor = cursor.map(Cursor::to_string);
        let (status, because) = match going.end {
            Some(End::Stop(because)) => (RedriveStatus::Stopped, Some(because)),
            Some(End::Late | End::Storage | End::Rest) | None if is_whole && next.is_none() => {
                (RedriveStatus::Completed, None)
            }
            Some(End::Late | End::Storage | End::Rest) | None => (RedriveStatus::Running, None),
        };
        let due_since = due_since(redrive, now);
        let next_at = match going.end {
            Some(End::Storage | End::Rest) => now + REST,
            Some(End::Late | End::Stop(_)) | None => {
                pace(redrive).after(tally.tried(), due_since, now)
            }
        };
        let progress = Progress {
            tally,
            cursor: cursor.as_deref(),
            next_at,
            status,
            stopped_because: because,
            now,
        };
        let saved = db::redrives::save(&self.db, redrive.id, token, &progress);
        if !db::in_time(saved).await? {
            tracing::warn!(redrive.id = %redrive.id, "A redrive was taken over in mid-page");
        } else if let Some(because) = because {
            let queue = redrive.queue.as_str();
            tracing::error!(redrive.id = %redrive.id, queue, because, "A redrive stopped: {because}");
        } else if status == RedriveStatus::Completed {
            tracing::info!(redrive.id = %redrive.id, queue = redrive.queue, "A redrive is complete");
        }
        Ok(())
    }
}

impl Going<'_> {
    /// Counts what became of a letter; whether others are begun.
    fn goes_on(&mut self, replayed: &Replayed) -> bool {
        match replayed.outcome {
            Outcome::Succeeded | Outcome::Superseded => self.tally.succeeded += 1,
            Outcome::ReQueued | Outcome::Dead => self.tally.failed += 1,
            Outcome::Held => self.tally.held += 1,
        }
        self.trailing = if replayed.outcome == Outcome::Held { self.trailing + 1 } else { 0 };
        let end = self.end_after(replayed);
        // What stops it says more than what made it rest.
        if !matches!(self.end, Some(End::Stop(_))) {
            self.end = end.or(self.end);
        }
        self.end.is_none()
    }

    fn end_after(&self, replayed: &Replayed) -> Option<End> {
        let is_held = replayed.outcome == Outcome::Held;
        match replayed.error.as_deref() {
            Some(AWAY) if is_held => return Some(End::Storage),
            Some(BREAKER_OPEN) if is_held => return Some(End::Stop(BREAKER_OPEN)),
            Some(NO_HANDLER) if is_held => return Some(End::Stop(NO_HANDLER)),
            Some(NOT_CONFIGURED) if is_held => return Some(End::Stop(NOT_CONFIGURED)),
            _ => (),
        }
        let before = tried(self.redrive);
        let is_first = self.redrive.one_first && before + self.tally.tried() == 1;
        if is_first && self.tally.succeeded == 0 {
            return Some(End::Stop("first_failed"));
        }
        let percent = u32::try_from(self.redrive.stop_at_failure_percent).unwrap_or_default();
        let (tried, undone) =
            (before + self.tally.tried(), undone(self.redrive) + self.tally.undone());
        if is_hopeless(tried, undone, percent) {
            return Some(End::Stop("failures"));
        }
        if is_held {
            return Some(End::Rest);
        }
        (self.began.elapsed() >= self.patience).then_some(End::Late)
    }

    /// What the redrive is done with. The last ones are not among it if nothing could have succeeded:
    /// it comes back for them.
    fn passed(&self) -> Tally {
        match self.end {
            Some(End::Storage | End::Stop(BREAKER_OPEN | NO_HANDLER | NOT_CONFIGURED)) => {
                Tally { held: self.tally.held - self.trailing, ..self.tally }
            }
            Some(End::Late | End::Rest | End::Stop(_)) | None => self.tally,
        }
    }
}

/// How many it has tried since it was last let go on after a stop.
fn tried(redrive: &Redrive) -> u64 {
    let tried = redrive.succeeded + redrive.failed + redrive.held - redrive.excused_tried;
    u64::try_from(tried).unwrap_or_default()
}

/// How many of these are still owed.
fn undone(redrive: &Redrive) -> u64 {
    u64::try_from(redrive.failed + redrive.held - redrive.excused_undone).unwrap_or_default()
}

fn pace(redrive: &Redrive) -> Pace {
    Pace { per_second: redrive.rate_per_s.and_then(|rate| u32::try_from(rate).ok()) }
}

/// Since when its next letter is due. It is due now if that seems to be later: then some clock was ahead.
fn due_since(redrive: &Redrive, now: DateTime<Utc>) -> DateTime<Utc> {
    redrive.next_at.min(now)
}
