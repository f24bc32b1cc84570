//! The names of the queues, and of the states in which a letter can be.

use serde::{Deserialize, Serialize};

/// One kind of things that we owe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Queue {
    /// Events of the payment provider.
    Webhooks,
    /// Messages to people.
    Outbound,
    /// What is to be found out about a lead.
    Enrichment,
    /// Funnel events that analytics refused.
    Analytics,
    /// What the customer list is to be told.
    CrmSync,
}

impl Queue {
    /// Every queue, in the order in which they are shown.
    pub const ALL: [Self; 5] =
        [Self::Webhooks, Self::Outbound, Self::Enrichment, Self::Analytics, Self::CrmSync];

    /// The name in paths, keys, answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhooks => "webhooks",
            Self::Outbound => "outbound",
            Self::Enrichment => "enrichment",
            Self::Analytics => "analytics",
            Self::CrmSync => "crm_sync",
        }
    }

    /// The queue of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|queue| queue.name() == name)
    }
}

/// Where a letter is; it is nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A worker may take it.
    Ready,
    /// It is not due yet.
    Scheduled,
    /// Somebody has it in hand.
    InFlight,
    /// It was given up: only an operator moves it.
    Dead,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Scheduled, Self::InFlight, Self::Dead];

    /// The name in keys, answers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Scheduled => "scheduled",
            Self::InFlight => "in_flight",
            Self::Dead => "dead",
        }
    }

    /// The state of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_names_one() {
        for queue in Queue::ALL {
            assert_eq!(Queue::named(queue.name()), Some(queue));
        }
        for state in State::ALL {
            assert_eq!(State::named(state.name()), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        assert_eq!((Queue::named("payments"), State::named("")), (None, None));
    }
}
