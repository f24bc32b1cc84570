//! How the calls of the last seconds went, counted in a ring of time buckets; integers only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The window is forgotten in this many steps.
const BUCKETS: u32 = 60;

/// Calls and how they went.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Tally {
    /// All calls.
    pub calls: u32,
    /// Those that met an outage.
    pub failures: u32,
    /// Those that took too long, however they ended.
    pub slow: u32,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn take(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

/// A window that slides with time: no call older than its length is counted, and every call of at
/// most 59/60 of its length is.
#[derive(Debug)]
pub(super) struct Window {
    epoch: Instant,
    bucket: Duration,
    /// Only buckets that hold calls, oldest first, each with its number since the epoch.
    buckets: VecDeque<(u128, Tally)>,
    total: Tally,
}

impl Window {
    /// An empty window of the given length, which starts now.
    pub fn new(length: Duration, now: Instant) -> Self {
        Self {
            epoch: now,
            bucket: (length / BUCKETS).max(Duration::from_millis(1)),
            buckets: VecDeque::new(),
            total: Tally::default(),
        }
    }

    /// Counts calls that ended now.
    pub fn add(&mut self, calls: Tally, now: Instant) {
        let current = self.slide(now);
        match self.buckets.back_mut() {
            Some((number, tally)) if *number >= current => tally.add(calls),
            _ => self.buckets.push_back((current, calls)),
        }
        self.total.add(calls);
    }

    /// The calls of the last window length.
    pub fn tally(&mut self, now: Instant) -> Tally {
        self.slide(now);
        self.total
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.buckets.clear();
        self.total = Tally::default();
    }

    /// Lets go of what is too old; returns the number of the current bucket.
    fn slide(&mut self, now: Instant) -> u128 {
        let age = now.saturating_duration_since(self.epoch);
        let current = age.as_nanos() / self.bucket.as_nanos();
        while let Some((number, tally)) = self.buckets.front().copied() {
            if number + u128::from(BUCKETS) > current {
                break;
            }
            self.total.take(tally);
            self.buckets.pop_front();
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const FAILED: Tally = Tally { calls: 1, failures: 1, slow: 0 };
    const SLOW: Tally = Tally { calls: 1, failures: 0, slow: 1 };

    fn window() -> (Window, Instant) {
        let epoch = Clock::default().monotonic();
        (Window::new(Duration::from_mins(1), epoch), epoch)
    }

    fn at(epoch: Instant, millis: u64) -> Instant {
        epoch + Duration::from_millis(millis)
    }

    #[test]
    fn a_call_leaves_with_its_second_a_minute_later() {
        let (mut window, epoch) = window();
        window.add(FAILED, at(epoch, 1_000));
        window.add(SLOW, at(epoch, 1_999));
        window.add(SLOW, at(epoch, 2_000));
        assert_eq!(window.buckets.len(), 2, "a second has one bucket, however many its calls");
        assert_eq!(window.tally(at(epoch, 2_000)), Tally { calls: 3, failures: 1, slow: 2 });
        assert_eq!(window.tally(at(epoch, 60_999)), Tally { calls: 3, failures: 1, slow: 2 });
        assert_eq!(window.tally(at(epoch, 61_000)), Tally { calls: 1, failures: 0, slow: 1 });
        assert_eq!(window.tally(at(epoch, 61_999)), Tally { calls: 1, failures: 0, slow: 1 });
        assert_eq!(window.tally(at(epoch, 62_000)), Tally::default());
        assert_eq!(window.buckets.len(), 0);
    }

    #[test]
    fn it_truly_slides_however_many_good_calls_came_before() {
        let (mut window, epoch) = window();
        let good = Tally { calls: 1, ..Tally::default() };
        for second in 0..1_000 {
            window.add(good, at(epoch, second * 1_000));
        }
        assert_eq!(window.tally(at(epoch, 999_000)).calls, 60);
        assert_eq!(window.buckets.len(), 60);
        window.add(FAILED, at(epoch, 1_010_000));
        assert_eq!(
            window.tally(at(epoch, 1_010_000)),
            Tally { calls: 50, failures: 1, slow: 0 },
            "10 of the 60 left in the 11 seconds since, and one came"
        );
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_loses_no_call() {
        let (mut window, epoch) = window();
        window.add(FAILED, at(epoch, 5_000));
        window.add(FAILED, at(epoch, 5_000));
        window.add(FAILED, epoch);
        assert_eq!(window.tally(epoch).calls, 3);
        assert_eq!(window.tally(at(epoch, 65_000)), Tally::default());
    }

    #[test]
    fn a_window_of_no_length_still_counts_something() {
        let epoch = Clock::default().monotonic();
        let mut window = Window::new(Duration::ZERO, epoch);
        window.add(FAILED, epoch);
        assert_eq!(window.tally(at(epoch, 59)).calls, 1);
        assert_eq!(window.tally(at(epoch, 60)).calls, 0);
    }

    #[test]
    fn clearing_forgets_everything() {
        let (mut window, epoch) = window();
        window.add(FAILED, epoch);
        window.clear();
        assert_eq!(window.tally(epoch), Tally::default());
        window.add(FAILED, epoch);
        assert_eq!(window.tally(epoch), FAILED);
        assert_eq!(window.tally(at(epoch, 60_000)), Tally::default());
    }
}
