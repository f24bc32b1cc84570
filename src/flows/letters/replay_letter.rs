//! Replay dead letters: what becomes of one after an attempt, whoever asked for it. What it owes and who
//! does that is in `debts`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesOrdered;
use redis::RedisResult;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::faults;
use crate::flows::backoff::after;
use crate::flows::letters::debts::Debts;
use crate::flows::letters::handler::{Done, Undone};
use crate::queue::{Content, InHand, Letter, Letters, Origin, Queue, Verdict};
use crate::tasks::guarded;

/// Waits after failed attempts; the last one goes on for as many attempts as are configured.
const BACKOFF: [Duration; 5] = [
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(6),
];

/// How many letters are replayed at a time.
pub(super) const ABREAST: usize = 8;

/// For how long letters are taken in one go.
const GO: Duration = Duration::from_secs(10);

/// When a run no longer waits for what it took: before its step is given up, and before leases end.
const WORK: Duration = Duration::from_secs(22);

/// How long a letter is left alone whose attempt did not end in time.
const LATE_PAUSE: TimeDelta = TimeDelta::seconds(30);

/// How long a letter of a newer version is left alone.
const NEWER_PAUSE: Duration = Duration::from_mins(5);

/// How many workers may die with nothing but the letter in their hands. The one that died before them
/// may have died of another.
const DEATHS_ALONE: u32 = 3;

/// What replaying letters needs.
pub(crate) struct ReplayLetters {
    pub letters: Letters,
    pub debts: Debts,
    /// How long a letter belongs to whoever took it.
    pub lease: TimeDelta,
    /// How many are taken at once.
    pub batch: usize,
    pub clock: Clock,
    pub holds: Holds,
}

/// The queues for whose letters something was away last time: there one goes ahead of the others.
#[derive(Debug, Default)]
pub(crate) struct Holds([AtomicBool; Queue::ALL.len()]);

impl Holds {
    fn of(&self, queue: Queue) -> Option<&AtomicBool> {
        let holds = Queue::ALL.iter().zip(&self.0);
        holds.into_iter().find(|(of, _)| **of == queue).map(|(_, hold)| hold)
    }

    pub(super) fn is_held(&self, queue: Queue) -> bool {
        self.of(queue).is_some_and(|hold| hold.load(Ordering::Relaxed))
    }

    fn note(&self, queue: Queue, is_held: bool) {
        if let Some(hold) = self.of(queue) {
            hold.store(is_held, Ordering::Relaxed);
        }
    }
}

/// What became of a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// What was owed is done.
    Succeeded,
    /// Somebody else had done it.
    Superseded,
    /// It failed, and is due again later.
    ReQueued,
    /// It was given up.
    Dead,
    /// Nobody's attempt: something that it needs is away, or only a newer version can read it.
    Held,
}

impl Outcome {
    /// The word in answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Superseded => "superseded",
            Self::ReQueued => "re_queued",
            Self::Dead => "dead",
            Self::Held => "held",
        }
    }
}

/// What became of one letter, for whoever asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Replayed {
    pub id: String,
    /// Empty where the letter cannot be read.
    pub source: String,
    pub outcome: Outcome,
    /// Why it is not done, in our own words.
    pub error: Option<String>,
}

/// What is to be written of an attempt.
struct Attempt {
    outcome: Outcome,
    error: Option<String>,
    /// The letter as it is from now on, if it changed.
    letter: Option<Letter>,
    next: Next,
}

/// Where the letter goes.
enum Next {
    Away,
    Back(DateTime<Utc>),
    Dead,
}

impl ReplayLetters {
    /// Replays what is due, for a few seconds at most. While something that letters need is away, one
    /// goes ahead to find out whether it is back.
    pub async fn run(&self, queue: Queue) -> RedisResult<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        if !self.debts.has_handler(queue) {
            return Ok(outcomes);
        }
        let limit = if self.holds.is_held(queue) { 1 } else { self.batch };
        let began = Instant::now();
        while let Some(places @ 1..) = limit.checked_sub(outcomes.len())
            && began.elapsed() < GO
        {
            let (now, abreast) = (self.clock.now(), places.min(ABREAST));
            let taken = self.letters.take(queue, now, self.lease, abreast).await?;
            if !taken.is_empty() {
                faults::step("letter_taken");
            }
            // What cannot be put back now returns by itself when its lease ends.
            let replayed = self.replay(queue, &taken, began + WORK).await?;
            let is_over =
                replayed.is_empty() || replayed.iter().any(|it| it.outcome == Outcome::Held);
            outcomes.extend(replayed.into_iter().map(|it| it.outcome));
            if is_over {
                break;
            }
        }
        Ok(outcomes)
    }

    /// Replays letters in hand, all at a time, and puts each where it belongs. What has not ended by `end`
    /// is given up and put back: nobody has died of it.
    pub async fn replay(
        &self,
        queue: Queue,
        taken: &[InHand],
        end: Instant,
    ) -> RedisResult<Vec<Replayed>> {
        let attempts = taken.iter().map(|in_hand| {
            let late = || Attempt::late(in_hand, self.clock.now());
            by(end, self.attempt(queue, in_hand), late)
        });
        let attempts = join_all(attempts).await;
        self.put(queue, taken.iter().zip(attempts).collect(), &[]).await
    }

    /// Replays letters in hand in their order, a few at a time, for as long as `goes_on` with what came
    /// of each; puts each where it belongs, and those that are held or were not begun to where they were.
    /// Tells what became of those that were begun, which are the first ones.
    pub async fn replay_while(
        &self,
        queue: Queue,
        taken: &[&InHand],
        mut goes_on: impl FnMut(&Replayed) -> bool,
    ) -> RedisResult<Vec<Replayed>> {
        let (mut waiting, mut is_over) = (taken.iter(), false);
        let (mut begun, mut attempts) = (FuturesOrdered::new(), Vec::with_capacity(taken.len()));
        loop {
            while !is_over
                && begun.len() < ABREAST
                && let Some(in_hand) = waiting.next()
            {
                begun.push_back(self.attempt(queue, in_hand));
            }
            let Some(mut attempt) = begun.next().await else { break };
            if let Some(in_hand) = taken.get(attempts.len()) {
                is_over |= !goes_on(&attempt.told_of(in_hand, true));
                if attempt.outcome == Outcome::Held {
                    attempt.next = Next::as_it_was(in_hand, self.clock.now());
                }
            }
            attempts.push(attempt);
        }
        let left = taken.get(attempts.len()..).unwrap_or_default();
        self.put(queue, taken.iter().copied().zip(attempts).collect(), left).await
    }

    /// Puts letters in hand where they belong, and those that are left to where they were.
    async fn put(
        &self,
        queue: Queue,
        attempts: Vec<(&InHand, Attempt)>,
        left: &[&InHand],
    ) -> RedisResult<Vec<Replayed>> {
        if attempts.is_empty() && left.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock.now();
        let verdicts = attempts.iter().map(|(in_hand, attempt)| (*in_hand, attempt.verdict()));
        let untouched =
            left.iter().map(|in_hand| (*in_hand, Next::as_it_was(in_hand, now).verdict(None)));
        let verdicts: Vec<_> = verdicts.chain(untouched).collect();
        let has = |kind: fn(&Next) -> bool| attempts.iter().any(|(_, attempt)| kind(&attempt.next));
        let (some_go, some_die) =
            (has(|next| matches!(next, Next::Away)), has(|next| matches!(next, Next::Dead)));
        let some_return = has(|next| matches!(next, Next::Back(_)));
        if some_go {
            faults::step("letter_done");
        }
        if some_return {
            faults::step("letter_unreturned");
        }
        if some_die {
            faults::step("letter_unburied");
        }
        let written = self.letters.settle(queue, now, &verdicts).await?;
        if some_go {
            faults::step("letter_acknowledged");
        }
        if some_return {
            faults::step("letter_returned");
        }
        if some_die {
            faults::step("letter_buried");
        }
        let told = attempts.iter().zip(written).map(|((in_hand, attempt), is_written)| {
            let told = attempt.told_of(in_hand, is_written);
            let labels = [("queue", queue.name()), ("outcome", told.outcome.name())];
            metrics::counter!("dealix_dlq_replays_total", &labels).increment(1);
            told
        });
        Ok(told.collect())
    }

    /// Does what a letter owes; says what is to be written of it.
    async fn attempt(&self, queue: Queue, in_hand: &InHand) -> Attempt {
        let (id, now) = (in_hand.id(), self.clock.now());
        let letter = match &in_hand.content {
            Content::Letter(letter) => letter,
            Content::Newer => {
                tracing::warn!(letter.id = %id, "A letter waits for a newer version of this service");
                return Attempt::held(in_hand, None, "newer_version", now + NEWER_PAUSE);
            }
            Content::Unreadable => {
                tracing::error!(letter.id = %id, "A letter cannot be read and was set aside");
                let error = Some("unreadable".to_owned());
                return Attempt { outcome: Outcome::Dead, error, letter: None, next: Next::Dead };
            }
        };
        if in_hand.deaths > DEATHS_ALONE {
            let error =
                format!("{DEATHS_ALONE} processes ended with nothing but this letter in hand");
            return self.give_up(letter, "poison".to_owned(), error);
        }
        let done = guarded(Box::pin(self.debts.settle(queue, letter, in_hand.deaths))).await;
        let done = done.unwrap_or_else(|panic| Err(Undone::failed("panic", panic)));
        self.holds.note(queue, matches!(done, Err(Undone::Away { .. })));
        match done {
            Ok(Done::Here) => Attempt::done(Outcome::Succeeded),
            Ok(Done::Elsewhere) => Attempt::done(Outcome::Superseded),
            Err(Undone::Away { class, pause }) => {
                tracing::debug!(letter.id = %id, class, "A letter is held: {class}");
                // Behind those that may not need what is away.
                Attempt::held(in_hand, Some(letter), class, now + pause)
            }
            Err(Undone::Failed { class, error }) if letter.attempt + 1 >= letter.max_retries => {
                self.give_up(letter, class, error)
            }
            Err(Undone::Failed { class, error }) => {
                tracing::warn!(letter.id = %id, class, error, "A letter failed: {error}");
                let failures = usize::try_from(letter.attempt).unwrap_or(usize::MAX);
                let [.., longest] = BACKOFF;
                let pause = BACKOFF.get(failures).copied().unwrap_or(longest);
                let due_at = after(now, pause);
                let tried = tried(letter, class, error.clone(), (now, due_at));
                let next = Next::Back(due_at);
                Attempt {
                    outcome: Outcome::ReQueued,
                    error: Some(error),
                    letter: Some(tried),
                    next,
                }
            }
        }
    }

    fn give_up(&self, letter: &Letter, class: String, error: String) -> Attempt {
        let now = self.clock.now();
        tracing::error!(letter.id = letter.id, class, error, "A letter is dead: {error}");
        let tried = tried(letter, class, error.clone(), (now, now));
        Attempt {
            outcome: Outcome::Dead,
            error: Some(error),
            letter: Some(tried),
            next: Next::Dead,
        }
    }
}

impl Attempt {
    fn done(outcome: Outcome) -> Self {
        Self { outcome, error: None, letter: None, next: Next::Away }
    }

    /// Back to where it was, and not earlier than it was due.
    fn held(in_hand: &InHand, letter: Option<&Letter>, class: &str, due_at: DateTime<Utc>) -> Self {
        let next = match in_hand.from {
            Origin::Dead => Next::Dead,
            Origin::Waiting => {
                let was_due = letter.map_or(due_at, |letter| letter.next_attempt_at);
                Next::Back(due_at.max(was_due))
            }
        };
        Self { outcome: Outcome::Held, error: Some(class.to_owned()), letter: None, next }
    }

    /// Back, because it did not end in time.
    fn late(in_hand: &InHand, now: DateTime<Utc>) -> Self {
        let letter = match &in_hand.content {
            Content::Letter(letter) => Some(&**letter),
            Content::Newer | Content::Unreadable => None,
        };
        Self::held(in_hand, letter, "timeout", now + LATE_PAUSE)
    }

    /// What may be told of it. Where the lease had ended, nothing was written: what was owed and is done
    /// stays done, and anything else is up to whoever has the letter now.
    fn told_of(&self, in_hand: &InHand, is_written: bool) -> Replayed {
        let source = match &in_hand.content {
            Content::Letter(letter) => letter.source.clone(),
            Content::Newer | Content::Unreadable => String::new(),
        };
        let (outcome, error) = match self.next {
            Next::Back(_) | Next::Dead if !is_written => {
                (Outcome::Held, Some("lease_ended".to_owned()))
            }
            Next::Away | Next::Back(_) | Next::Dead => (self.outcome, self.error.clone()),
        };
        Replayed { id: in_hand.id().into_owned(), source, outcome, error }
    }

    fn verdict(&self) -> Verdict<'_> {
        self.next.verdict(self.letter.as_ref())
    }
}

impl Next {
    /// To where a letter was before it was taken.
    fn as_it_was(in_hand: &InHand, now: DateTime<Utc>) -> Self {
        match (in_hand.from, &in_hand.content) {
            (Origin::Dead, _) => Self::Dead,
            (Origin::Waiting, Content::Letter(letter)) => Self::Back(letter.next_attempt_at),
            (Origin::Waiting, Content::Newer | Content::Unreadable) => Self::Back(now),
        }
    }

    fn verdict<'a>(&self, letter: Option<&'a Letter>) -> Verdict<'a> {
        match *self {
            Self::Away => Verdict::Done,
            Self::Back(due_at) => Verdict::Back { letter, due_at },
            Self::Dead => Verdict::Dead { letter },
        }
    }
}

/// The letter after a failed attempt.
fn tried(
    letter: &Letter,
    error_class: String,
    error: String,
    (now, next_attempt_at): (DateTime<Utc>, DateTime<Utc>),
) -> Letter {
    Letter {
        error,
        error_class,
        attempt: letter.attempt + 1,
        last_attempt_at: Some(now),
        next_attempt_at,
        ..letter.clone()
    }
}

/// What a piece of work came to by then, or what stands for it.
async fn by<T>(end: Instant, work: impl Future<Output = T>, late: impl FnOnce() -> T) -> T {
    tokio::time::timeout_at(end, work).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_does_not_take_along_what_is_done_beside_it() {
        let end = Instant::now() + WORK;
        let (done, hangs) = (by(end, ready(1), || 0), by(end, pending(), || 2));
        assert_eq!(tokio::join!(done, hangs), (1, 2));
        assert_eq!(Instant::now(), end);
    }
}
