//! How the calls of the last seconds went, counted in a ring of time buckets; integers only.

use std::collections::VecDeque;
use std::num::NonZeroU32;
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
/// most 59/60 of its length is. It may also slide with the calls: then only the newest ones count.
#[derive(Debug)]
pub(super) struct Window {
    bucket_length: Duration,
    /// The number of the bucket that takes calls now, and when it ends.
    current: u64,
    current_end: Instant,
    /// At most so many calls count; none: all that are young enough.
    most: Option<NonZeroU32>,
    /// Only buckets that hold calls, oldest first, each with its number. Where calls leave one by one,
    /// each has a bucket of its own.
    buckets: VecDeque<(u64, Tally)>,
    total: Tally,
}

impl Window {
    /// An empty window of the given length in time, and in calls if that is not zero. It starts now.
    pub fn new(length: Duration, most: u32, now: Instant) -> Self {
        let millis = u64::try_from((length / BUCKETS).as_millis()).unwrap_or(u64::MAX);
        Self {
            bucket_length: Duration::from_millis(millis.max(1)),
            current: 0,
            current_end: now,
            most: NonZeroU32::new(most),
            buckets: VecDeque::new(),
            total: Tally::default(),
        }
    }

    /// Counts a call that ended now; tells of all that count.
    pub fn add(&mut self, call: Tally, now: Instant) -> Tally {
        self.slide(now);
        match self.buckets.back_mut() {
            Some((number, tally)) if self.most.is_none() && *number == self.current => {
                tally.add(call);
            }
            _ => self.buckets.push_back((self.current, call)),
        }
        self.total.add(call);
        if self.most.is_some_and(|most| self.total.calls > most.get())
            && let Some((_, oldest)) = self.buckets.pop_front()
        {
            self.total.take(oldest);
        }
        self.total
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

    /// Lets go of what is too old, bucket by bucket; those of a rest that held no calls are skipped.
    fn slide(&mut self, now: Instant) {
        while self.current_end <= now {
            if self.buckets.is_empty() {
                let idle = now.saturating_duration_since(self.current_end).as_millis();
                let skipped = idle / self.bucket_length.as_millis().max(1);
                self.current_end += self.bucket_length * u32::try_from(skipped).unwrap_or(u32::MAX);
            }
            self.current += 1;
            self.current_end += self.bucket_length;
            while let Some((number, tally)) = self.buckets.front().copied()
                && number + u64::from(BUCKETS) <= self.current
            {
                self.total.take(tally);
                self.buckets.pop_front();
            }
        }
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
        (Window::new(Duration::from_mins(1), 0, epoch), epoch)
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
        let mut window = Window::new(Duration::ZERO, 0, epoch);
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

    #[test]
    fn of_a_window_of_calls_the_oldest_leaves_for_the_newest_also_within_one_second() {
        let epoch = Clock::default().monotonic();
        let mut window = Window::new(Duration::from_mins(1), 3, epoch);
        for call in [FAILED, SLOW, FAILED] {
            window.add(call, epoch);
        }
        assert_eq!(window.tally(epoch), Tally { calls: 3, failures: 2, slow: 1 });
        window.add(SLOW, epoch);
        assert_eq!(window.tally(epoch), Tally { calls: 3, failures: 1, slow: 2 });
        window.add(SLOW, at(epoch, 30_000));
        window.add(FAILED, at(epoch, 30_000));
        assert_eq!(window.tally(at(epoch, 30_000)), Tally { calls: 3, failures: 1, slow: 2 });
        assert_eq!(window.tally(at(epoch, 60_000)), Tally { calls: 2, failures: 1, slow: 1 });
        assert_eq!(window.tally(at(epoch, 90_000)), Tally::default(), "time still counts, too");
    }

    #[test]
    fn an_empty_window_goes_on_in_the_same_steps_however_long_nothing_happened() {
        let (mut window, epoch) = window();
        for hour in [1, 1_000, 1_000_000] {
            let call = at(epoch, hour * 3_600_000 + 999);
            window.add(FAILED, call);
            assert_eq!(window.tally(at(call, 59_000)), FAILED);
            assert_eq!(window.tally(at(call, 59_001)), Tally::default());
        }
    }

    #[test]
    fn a_window_shorter_than_a_second_slides_by_milliseconds() {
        let epoch = Clock::default().monotonic();
        let mut window = Window::new(Duration::from_millis(600), 0, epoch);
        window.add(FAILED, epoch);
        window.add(FAILED, at(epoch, 9));
        window.add(FAILED, at(epoch, 10));
        assert_eq!(window.tally(at(epoch, 599)).calls, 3);
        assert_eq!(window.tally(at(epoch, 600)).calls, 1);
        assert_eq!(window.tally(at(epoch, 610)).calls, 0);
    }
}
