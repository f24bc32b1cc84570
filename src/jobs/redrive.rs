//! Carries out redrives. It runs also in mode `sync`: they are an operator's word.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::flows::letters::redrives::Redrives;
use crate::jobs::{Cadence, Step, repeat};

/// How often it is looked whether one is due: paces are kept over any second.
const TICK: Duration = Duration::from_millis(500);

/// The loop.
#[derive(Clone)]
pub(crate) struct RedriveJob {
    pub flow: Redrives,
}

impl RedriveJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "redrive", tick: TICK, bell: None };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Takes one redrive a page further.
    pub async fn step(&self) -> anyhow::Result<Step> {
        Ok(if self.flow.step().await? { Step::Worked } else { Step::Idle })
    }
}
