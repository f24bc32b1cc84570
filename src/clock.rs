//! The one place that reads the time: of day for what we record, monotonic for what we wait for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// A source of the current time: the system's, or one that a test holds and moves by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    held: Option<Arc<Mutex<Held>>>,
}

#[derive(Debug)]
struct Held {
    now: DateTime<Utc>,
    monotonic: Instant,
}

impl Clock {
    /// A clock that shows `now` until [`Clock::advance`] moves it.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn held(now: DateTime<Utc>) -> Self {
        Self { held: Some(Arc::new(Mutex::new(Held { now, monotonic: Instant::now() }))) }
    }

    /// The time of day.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> DateTime<Utc> {
        self.read(|held| held.now).unwrap_or_else(Utc::now)
    }

    /// A time that never goes back, for measuring how long something took.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn monotonic(&self) -> Instant {
        self.read(|held| held.monotonic).unwrap_or_else(Instant::now)
    }

    /// Moves a held clock forward, on both of its hands; the system's clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Some(held) = &self.held {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.now += by;
            held.monotonic += by;
        }
    }

    fn read<T>(&self, hand: impl FnOnce(&Held) -> T) -> Option<T> {
        let held = self.held.as_ref()?;
        Some(hand(&held.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_clock_moves_both_hands_and_only_by_hand() {
        let start = "2026-01-02T03:04:05Z".parse().unwrap();
        let clock = Clock::held(start);
        let (same, began) = (clock.clone(), clock.monotonic());
        clock.advance(Duration::from_secs(90));
        assert_eq!(same.now(), start + Duration::from_secs(90));
        assert_eq!(same.monotonic() - began, Duration::from_secs(90));
    }
}
