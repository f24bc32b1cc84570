//! Runs the health checks, each in a loop of its own, so that one that hangs delays no other and
//! never runs twice at once.

use std::time::Duration;

use futures_util::future::join_all;

use crate::domain::health::Check;
use crate::flows::health::check_health::HealthChecks;
use crate::jobs::{Cadence, Step, repeat};
use crate::tasks::Tasks;

/// The loops of the health checks.
#[derive(Clone)]
pub struct CheckHealthJob {
    /// What is looked after.
    pub checks: HealthChecks,
    /// The time between two looks at the same thing.
    pub interval: Duration,
}

impl CheckHealthJob {
    /// Starts one loop per check; each looks at once.
    pub fn start(&self, tasks: &Tasks) {
        for check in Check::ALL {
            let this = self.clone();
            tasks.start(check.name(), |stop| async move {
                let cadence = Cadence { name: check.name(), tick: this.interval, bell: None };
                let look = || async {
                    this.checks.run(check).await;
                    Ok(Step::Idle)
                };
                repeat(cadence, stop, look).await;
            });
        }
    }

    /// One round of all checks at once. Tests call this instead of waiting.
    pub async fn step(&self) {
        join_all(Check::ALL.map(|check| self.checks.run(check))).await;
    }
}
