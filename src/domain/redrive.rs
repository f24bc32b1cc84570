//! A redrive: everything of a queue that matched at one moment, replayed once. Here are its states, its
//! pace, and when it gives up.

use chrono::{DateTime, TimeDelta, Utc};

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum RedriveStatus {
    /// It goes on, as soon as its pace lets it.
    Running,
    /// An operator let it rest.
    Paused,
    /// An operator ended it.
    Cancelled,
    /// It came to the end of what matched.
    Completed,
    /// It gave up; an operator may let it go on.
    Stopped,
}

impl RedriveStatus {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
        }
    }
}

/// What an operator says to one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RedriveWord {
    Pause,
    Resume,
    Cancel,
}

impl RedriveWord {
    /// What one becomes by it; none for one that is over and has not become that by the same word.
    pub const fn applied_to(self, status: RedriveStatus) -> Option<RedriveStatus> {
        use RedriveStatus::{Cancelled, Completed, Paused, Running, Stopped};
        match (self, status) {
            (Self::Pause, Running | Paused) => Some(Paused),
            (Self::Resume, Running | Paused | Stopped) => Some(Running),
            (Self::Cancel, Running | Paused | Stopped | Cancelled) => Some(Cancelled),
            (Self::Pause, Stopped | Cancelled | Completed)
            | (Self::Resume, Cancelled | Completed)
            | (Self::Cancel, Completed) => None,
        }
    }
}

/// What became of letters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    pub succeeded: u64,
    /// Again: due later, or dead.
    pub failed: u64,
    /// Nobody's attempt, and they are left behind.
    pub held: u64,
}

impl Tally {
    /// How many were taken up.
    pub const fn tried(self) -> u64 {
        self.succeeded + self.undone()
    }

    /// How many of these are still owed.
    pub const fn undone(self) -> u64 {
        self.failed + self.held
    }
}

/// So many are tried before their share is judged.
const JUDGED_FROM: u64 = 20;

/// Whether more than `percent` of those that were tried are still owed, of enough to judge by.
pub const fn is_hopeless(tried: u64, undone: u64, percent: u32) -> bool {
    tried >= JUDGED_FROM && undone as u128 * 100 > tried as u128 * percent as u128
}

/// For how long of silence letters may be made up for.
const BURST: TimeDelta = TimeDelta::seconds(1);

/// How fast letters are taken: a bucket of one second that fills by itself. All that it has to remember
/// is when the next letter may be taken, so that it goes on in another process as in the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// None: as fast as it goes.
    pub per_second: Option<u32>,
}

impl Pace {
    /// How many letters may be taken now, of which the next one was due at `next_at`.
    pub fn places(self, next_at: DateTime<Utc>, now: DateTime<Utc>) -> u64 {
        let Some(per_second) = self.per_second else { return u64::MAX };
        let micros = (now - next_at.max(now - BURST)).num_microseconds().unwrap_or_default();
        match u64::try_from(micros) {
            Ok(micros) => micros * u64::from(per_second) / 1_000_000 + 1,
            Err(_) => 0,
        }
    }

    /// When the next letter is due, after so many were taken.
    pub fn after(self, taken: u64, next_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        let Some(per_second) = self.per_second else { return now };
        // Upwards, so that rounding makes nobody faster.
        let micros = taken.saturating_mul(1_000_000).div_ceil(u64::from(per_second.max(1)));
        let wait = TimeDelta::microseconds(i64::try_from(micros).unwrap_or(i64::MAX));
        let from = next_at.max(now - BURST);
        from.checked_add_signed(wait).unwrap_or(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [RedriveStatus; 5] = [
        RedriveStatus::Running,
        RedriveStatus::Paused,
        RedriveStatus::Cancelled,
        RedriveStatus::Completed,
        RedriveStatus::Stopped,
    ];

    #[test]
    fn what_has_ended_stays_ended() {
        let becomes = |word: RedriveWord| {
            EVERY.map(|status| word.applied_to(status).map(RedriveStatus::word))
        };
        let (running, paused, cancelled) = (Some("running"), Some("paused"), Some("cancelled"));
        assert_eq!(becomes(RedriveWord::Pause), [paused, paused, None, None, None]);
        assert_eq!(becomes(RedriveWord::Resume), [running, running, None, None, running]);
        assert_eq!(
            becomes(RedriveWord::Cancel),
            [cancelled, cancelled, cancelled, None, cancelled]
        );
    }

    #[test]
    fn the_share_is_judged_of_twenty_and_only_when_it_is_passed() {
        assert!(!is_hopeless(19, 19, 50), "too few");
        assert!(!is_hopeless(20, 10, 50), "just that share");
        assert!(is_hopeless(20, 11, 50));
        assert!(is_hopeless(21, 11, 50));
        assert!(is_hopeless(20, 1, 0) && !is_hopeless(20, 0, 0));
        assert!(!is_hopeless(u64::MAX, u64::MAX, 100), "never");
        let tally = Tally { succeeded: 5, failed: 3, held: 1 };
        assert_eq!((tally.tried(), tally.undone()), (9, 4));
    }

    #[test]
    fn a_pace_is_kept_over_any_steps() {
        let start: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().unwrap();
        for per_second in [1, 3, 10, 7_000] {
            let pace = Pace { per_second: Some(per_second) };
            for step_ms in [1, 40, 333, 1_000] {
                let (mut next_at, mut taken) = (start, 0);
                for step in 0..=(10_000 / step_ms) {
                    let now = start + TimeDelta::milliseconds(step * step_ms);
                    let places = pace.places(next_at, now);
                    next_at = pace.after(places, next_at, now);
                    taken += places;
                    assert_eq!(pace.places(next_at, now), 0, "there is no second helping");
                    let millis = u64::try_from((now - start).num_milliseconds()).unwrap();
                    assert!(taken <= millis * u64::from(per_second) / 1_000 + 1);
                }
                // Rounding costs a little of a fast one.
                assert!(taken * 100 >= u64::from(per_second) * 10 * 98, "{per_second} {taken}");
            }
        }
    }

    #[test]
    fn a_long_silence_is_made_up_for_by_a_second_of_it() {
        let start: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().unwrap();
        let (pace, later) = (Pace { per_second: Some(10) }, start + TimeDelta::hours(1));
        assert_eq!(pace.places(start, later), 11);
        assert_eq!(pace.places(later, start), 0, "it is not due yet");
        let next_at = pace.after(11, start, later);
        assert_eq!(next_at, later + TimeDelta::milliseconds(100));
        let free = Pace { per_second: None };
        assert_eq!((free.places(start, start), free.after(9, start, later)), (u64::MAX, later));
    }
}
