//! Takes over what the predecessors left in Redis, at start and every minute.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::flows::letters::adopt_old_lists::AdoptOldLists;
use crate::jobs::{Cadence, Step, repeat};

const TICK: Duration = Duration::from_mins(1);

/// The loop.
#[derive(Clone)]
pub(crate) struct AdoptOldListsJob {
    pub flow: AdoptOldLists,
}

impl AdoptOldListsJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "adopt_old_lists", tick: TICK, bell: None };
        repeat(cadence, stop, || Box::pin(self.step())).await;
    }

    /// Takes over some of it.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let is_more = self.flow.run().await?;
        Ok(if is_more { Step::Worked } else { Step::Idle })
    }
}
