//! Looks for troubles twice a minute, and tells whoever is on call.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::flows::call_for_help::CallForHelp;
use crate::jobs::{Cadence, Step, repeat};

const TICK: Duration = Duration::from_secs(30);

/// The loop.
#[derive(Clone)]
pub(crate) struct CallForHelpJob {
    pub flow: CallForHelp,
}

impl CallForHelpJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "call_for_help", tick: TICK, bell: None };
        repeat(cadence, stop, || self.step()).await;
    }

    /// One look, and everything that is due told.
    pub async fn step(&self) -> anyhow::Result<Step> {
        self.flow.look().await?;
        while self.flow.tell().await? {}
        Ok(Step::Idle)
    }
}
