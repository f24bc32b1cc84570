//! How often somebody may ask in a minute: the generic cell rate algorithm over a bounded memory.
//! Knows neither routes nor addresses.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a budget is given for; it is refilled evenly, and whoever spent nothing has all of it.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

const WINDOW_NS: u64 = 60_000_000_000;

/// Clients remembered before the oldest half is forgotten.
const CLIENTS: usize = 65_536;

/// What is left of a budget after one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    /// Requests in a minute.
    pub limit: u32,
    /// How many more would be let through now.
    pub remaining: u32,
    /// When all of it is back.
    pub full_in: Duration,
    /// When the next request will be let through, if this one was not.
    pub refused_for: Option<Duration>,
}

/// The budgets of many clients, all of the same size.
#[derive(Debug)]
pub(super) struct Budgets<K> {
    per_minute: u32,
    /// Nanoseconds that give one request back.
    interval: u64,
    began: Instant,
    memory: Mutex<Memory<K>>,
}

/// When each client's budget will be full, in two generations. A client is in the younger one when it
/// asked since `since`; the older one is dropped when it is of no use any more, or when there are too
/// many clients to remember: forgetting lets a client through, and never another one out.
#[derive(Debug)]
struct Memory<K> {
    young: HashMap<K, u64>,
    old: HashMap<K, u64>,
    since: u64,
}

impl<K: Eq + Hash> Budgets<K> {
    pub fn new(per_minute: u32, began: Instant) -> Self {
        let memory = Memory { young: HashMap::new(), old: HashMap::new(), since: 0 };
        let interval = WINDOW_NS / u64::from(per_minute.max(1));
        Self { per_minute, interval, began, memory: Mutex::new(memory) }
    }

    /// Takes one request off the budget, if it is there. Whoever asks in vain pays nothing.
    pub fn take(&self, client: K, now: Instant) -> Standing {
        let now = now.saturating_duration_since(self.began).as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.age(now);
        let known = memory.young.get(&client).copied();
        let known = known.or_else(|| memory.old.remove(&client));
        let full_at = known.map_or(now, |full_at| now.max(full_at));
        let spent = full_at.saturating_add(self.interval);
        let over = spent.saturating_sub(now.saturating_add(WINDOW_NS));
        let full_at = if over == 0 { spent } else { full_at };
        memory.young.insert(client, full_at);
        let debt = full_at.saturating_sub(now);
        let remaining = WINDOW_NS.saturating_sub(debt) / self.interval;
        Standing {
            limit: self.per_minute,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX).min(self.per_minute),
            full_in: Duration::from_nanos(debt),
            refused_for: (over > 0).then(|| Duration::from_nanos(over)),
        }
    }
}

impl<K> Memory<K> {
    fn age(&mut self, now: u64) {
        // What was written a minute before is full again: the older generation knows nothing more.
        let is_stale = now.saturating_sub(self.since) >= WINDOW_NS;
        if is_stale || self.young.len() >= CLIENTS / 2 {
            self.old = std::mem::take(&mut self.young);
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn clock() -> Clock {
        Clock::held("2026-01-02T03:04:05Z".parse().unwrap())
    }

    #[test]
    fn a_full_budget_is_spent_at_once_and_comes_back_evenly() {
        let clock = clock();
        let budgets = Budgets::new(10, clock.monotonic());
        let take = || budgets.take("a", clock.monotonic());
        for remaining in (0..10).rev() {
            let standing = take();
            assert_eq!((standing.remaining, standing.refused_for), (remaining, None));
        }
        assert_eq!(take().refused_for, Some(Duration::from_secs(6)));
        clock.advance(Duration::from_millis(5_999));
        assert_eq!(take().refused_for, Some(Duration::from_millis(1)));
        clock.advance(Duration::from_millis(1));
        let standing = take();
        assert_eq!((standing.remaining, standing.refused_for), (0, None));
        assert_eq!(standing.full_in, Duration::from_secs(60));
        assert!(take().refused_for.is_some());
        clock.advance(WINDOW);
        let standing = take();
        assert_eq!((standing.limit, standing.remaining), (10, 9));
        assert_eq!(standing.full_in, Duration::from_secs(6));
    }

    #[test]
    fn every_size_of_budget_gives_exactly_what_it_says() {
        for per_minute in [1, 7, 119, 120, 6_000, 99_991, 100_000] {
            let clock = clock();
            let budgets = Budgets::new(per_minute, clock.monotonic());
            let mut passed = 0;
            while budgets.take((), clock.monotonic()).refused_for.is_none() {
                passed += 1;
            }
            assert_eq!(passed, per_minute);
        }
    }

    #[test]
    fn nobody_pays_for_anybody_else_and_nobody_for_asking_in_vain() {
        let clock = clock();
        let budgets = Budgets::new(2, clock.monotonic());
        let take = |client| budgets.take(client, clock.monotonic()).refused_for;
        assert_eq!((take("a"), take("a")), (None, None));
        for _ in 0..100 {
            assert_eq!(take("a"), Some(Duration::from_secs(30)));
        }
        assert_eq!(take("b"), None);
        clock.advance(Duration::from_secs(30));
        assert_eq!(take("a"), None);
    }

    #[test]
    fn a_debt_is_remembered_as_long_as_it_lasts_and_not_longer() {
        let clock = clock();
        let budgets = Budgets::new(1, clock.monotonic());
        clock.advance(Duration::from_secs(59));
        assert_eq!(budgets.take(1, clock.monotonic()).refused_for, None);
        // The generations change in between.
        for passed in [1, 30, 28] {
            clock.advance(Duration::from_secs(passed));
            assert!(budgets.take(1, clock.monotonic()).refused_for.is_some());
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(budgets.take(1, clock.monotonic()).refused_for, None);
        for _ in 0..2 {
            clock.advance(WINDOW);
            budgets.take(2, clock.monotonic());
        }
        assert_eq!(remembered(&budgets), 1);
    }

    #[test]
    fn the_memory_is_bounded_and_who_keeps_asking_is_not_forgotten() {
        let clock = clock();
        let budgets = Budgets::new(1, clock.monotonic());
        for client in 0..1_000_000 {
            budgets.take(client, clock.monotonic());
            if client % 1_000 == 0 && client > 0 {
                assert!(budgets.take(0, clock.monotonic()).refused_for.is_some());
            }
        }
        assert!(remembered(&budgets) <= CLIENTS);
    }

    fn remembered<K>(budgets: &Budgets<K>) -> usize {
        let memory = budgets.memory.lock().unwrap();
        memory.young.len() + memory.old.len()
    }
}
