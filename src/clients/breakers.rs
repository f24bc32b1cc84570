//! The registry of circuit breakers, one per outbound service.

use std::sync::Arc;

use crate::clients::breaker::Breaker;
use crate::clock::Clock;
use crate::config::BreakerConfig;

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

    /// All of them.
    pub fn list(&self) -> impl Iterator<Item = &Breaker> {
        self.all.iter().map(Arc::as_ref)
    }
}
