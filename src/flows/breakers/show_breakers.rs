//! Show the circuit breakers: which services we call, which we leave alone, and why.

pub(crate) use crate::clients::breaker::{Snapshot, Transition};
pub(crate) use crate::clients::breakers::Breakers;

use crate::clients::breaker::Breaker;

/// All of them as they are now, in the order in which their clients were built.
pub fn show_breakers(breakers: &Breakers) -> Vec<Snapshot> {
    breakers.list().map(Breaker::snapshot).collect()
}
