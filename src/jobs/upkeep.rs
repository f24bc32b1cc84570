//! Housekeeping of the process itself: what the gauges show and what the metrics hold on to.

use std::time::{Duration, Instant};

use metrics::gauge;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::jobs::{Cadence, Step, repeat};
use crate::telemetry::{Metrics, observe_process};

const TICK: Duration = Duration::from_secs(5);

/// Keeps the gauges of the process fresh.
#[derive(Clone)]
pub struct UpkeepJob {
    /// What is kept.
    pub metrics: Metrics,
    /// The pool that is watched.
    pub db: PgPool,
    /// What time it is.
    pub clock: Clock,
    /// When the process started.
    pub started: Instant,
}

impl UpkeepJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "upkeep", tick: TICK, bell: None };
        repeat(cadence, stop, || async { Ok(self.step()) }).await;
    }

    /// Sets every gauge once.
    pub fn step(&self) -> Step {
        let idle = u32::try_from(self.db.num_idle()).unwrap_or(u32::MAX);
        let busy = self.db.size().saturating_sub(idle);
        gauge!("dealix_db_connections", "state" => "idle").set(idle);
        gauge!("dealix_db_connections", "state" => "busy").set(busy);
        let limit = self.db.options().get_max_connections();
        gauge!("dealix_db_connections_limit").set(limit);
        observe_process(self.clock.monotonic().saturating_duration_since(self.started));
        self.metrics.upkeep();
        Step::Idle
    }
}
