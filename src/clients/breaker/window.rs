//! How the calls of the last seconds went, counted in a ring of time buckets; integers only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The window is forgotten in this many steps.
const BUCKETS: u128 = 60;

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
        let bucket = length / u32::try_from(BUCKETS).unwrap_or(u32::MAX);
        Self {
            epoch: now,
            bucket: bucket.max(Duration::from_millis(1)),
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
            if number + BUCKETS > current {
                break;
            }
            self.total.take(tally);
            self.buckets.pop_front();
        }
        current
    }
}
