//! Writes refused deliveries down, a few per second.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::flows::webhooks::quarantine::KeepQuarantine;
use crate::jobs::{Cadence, Step, repeat};

const TICK: Duration = Duration::from_secs(1);

/// The loop.
#[derive(Clone)]
pub(crate) struct KeepQuarantineJob {
    pub flow: KeepQuarantine,
}

impl KeepQuarantineJob {
    /// Runs until `stop`. It rests after every step, so that whoever floods us does not flood Postgres.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "keep_quarantine", tick: TICK, bell: None };
        let next = || Box::pin(async { self.step().await.map(|_| Step::Idle) });
        repeat(cadence, stop, next).await;
    }

    /// Writes down a few of those that wait.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let written = self.flow.run().await?;
        Ok(if written == 0 { Step::Idle } else { Step::Worked })
    }
}
