//! Follows what operators said about circuit breakers to any instance.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::flows::breakers::follow_overrides::FollowOverrides;
use crate::jobs::{Cadence, Step, repeat};

/// Every instance follows within 5 s, and a read may take 3 of them.
const TICK: Duration = Duration::from_secs(2);

/// The loop.
#[derive(Clone)]
pub(crate) struct FollowOverridesJob {
    pub flow: FollowOverrides,
}

impl FollowOverridesJob {
    /// Runs until `stop`; looks at once.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "follow_overrides", tick: TICK, bell: None };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Looks once.
    pub async fn step(&self) -> anyhow::Result<Step> {
        self.flow.run().await?;
        Ok(Step::Idle)
    }
}
