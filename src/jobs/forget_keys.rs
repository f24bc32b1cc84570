//! Forgets idempotency keys that have expired.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::db;
use crate::faults;
use crate::jobs::{Cadence, Step, repeat};

const TICK: Duration = Duration::from_secs(60);

/// Keys that one step forgets, so that none holds locks for long.
const PAGE: i64 = 1_000;

/// The loop. An expired key counts as absent; this only keeps the table small.
#[derive(Clone)]
pub(crate) struct ForgetKeysJob {
    pub db: PgPool,
    pub clock: Clock,
}

impl ForgetKeysJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "forget_keys", tick: TICK, bell: None };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Forgets one page.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let now = self.clock.now();
        let forgotten =
            db::in_time(db::idempotency_keys::delete_expired(&self.db, now, PAGE)).await?;
        if forgotten > 0 {
            faults::step("keys_forgotten");
        }
        Ok(if forgotten == 0 { Step::Idle } else { Step::Worked })
    }
}
