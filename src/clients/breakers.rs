//! The registry of circuit breakers, one per outbound service.

use std::sync::Arc;

use crate::clients::breaker::Breaker;
use crate::clock::Clock;
use crate::config::BreakerConfig;
use crate::domain::breaker::Orders;

/// Every breaker of this process, in the order in which the clients were built.
#[derive(Debug)]
pub(crate) struct Breakers {
    clock: Clock,
    is_passive: bool,
    all: Vec<Arc<Breaker>>,
}

impl Breakers {
    /// No breakers yet. If passive, none of them will ever let a call through.
    pub fn new(clock: Clock, is_passive: bool) -> Self {
        Self { clock, is_passive, all: Vec::new() }
    }

    /// Adds the breaker of one service, for its client's constructor.
    pub fn add(&mut self, name: &'static str, rules: BreakerConfig) -> Arc<Breaker> {
        let breaker = Arc::new(Breaker::new(name, rules, self.clock.clone(), self.is_passive));
        self.all.push(Arc::clone(&breaker));
        breaker
    }

    /// The breaker of the named service.
    pub fn get(&self, name: &str) -> Option<&Arc<Breaker>> {
        self.all.iter().find(|breaker| breaker.name() == name)
    }

    /// Whom they guard.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.list().map(Breaker::name)
    }

    /// Lets every breaker of ours do what operators said about it.
    pub fn follow(&self, orders: impl IntoIterator<Item = (impl AsRef<str>, Orders)>) {
        for (name, orders) in orders {
            // A newer release may know of more services than this one.
            if let Some(breaker) = self.get(name.as_ref()) {
                breaker.follow(&orders);
            }
        }
    }

    /// All of them.
    pub fn list(&self) -> impl Iterator<Item = &Breaker> {
        self.all.iter().map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ClientError;
    use crate::domain::breaker::{Force, Forced};

    const RULES: BreakerConfig = BreakerConfig {
        consecutive_failures: 5,
        window_secs: 60,
        window_calls: 0,
        minimum_calls: 10,
        failure_percent: 50,
        slow_percent: 80,
        slow_call_ms: 5_000,
        cooldown_secs: 60,
        max_cooldown_secs: 300,
        probe_lease_secs: 30,
    };

    #[test]
    fn every_breaker_is_listed_as_soon_as_it_exists() {
        let mut breakers = Breakers::new(Clock::default(), false);
        assert_eq!(breakers.list().count(), 0);
        let moyasar = breakers.add("moyasar", RULES);
        breakers.add("posthog", RULES);
        assert_eq!(breakers.names().collect::<Vec<_>>(), ["moyasar", "posthog"]);
        assert!(Arc::ptr_eq(breakers.get("moyasar").unwrap(), &moyasar));
        assert!(breakers.get("groq").is_none());
        assert!(moyasar.acquire().is_ok());
    }

    #[test]
    fn each_does_what_was_said_about_it_and_a_word_about_a_stranger_does_no_harm() {
        let mut breakers = Breakers::new(Clock::default(), false);
        let moyasar = breakers.add("moyasar", RULES);
        let posthog = breakers.add("posthog", RULES);
        let until = Clock::default().now() + chrono::TimeDelta::hours(1);
        let open = Orders::default().force(Forced { to: Force::Open, until });
        breakers.follow([("groq", open), ("posthog", open)]);
        assert_eq!(posthog.snapshot().forced, open.forced);
        assert_eq!(moyasar.snapshot().forced, None);
    }

    #[test]
    fn in_a_passive_process_no_call_goes_out() {
        let mut breakers = Breakers::new(Clock::default(), true);
        let moyasar = breakers.add("moyasar", RULES);
        let refused = moyasar.acquire().map(|_| ()).unwrap_err();
        assert!(matches!(refused, ClientError::Passive { client: "moyasar" }));
        assert_eq!(refused.class(), "passive");
        assert!(!refused.is_outage() && !refused.is_uncertain());
    }
}
