//! Commits what comes in. These loops serve requests, so they run wherever requests are served.

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::flows::webhooks::commit_events::CommitEvents;
use crate::tasks::guarded;

/// Two, so that one stuck connection is not everything.
const LANES: usize = 2;

/// The loop.
#[derive(Clone)]
pub(crate) struct CommitEventsJob {
    pub flow: CommitEvents,
}

impl CommitEventsJob {
    /// Runs until `stop`; a commit that has begun is finished.
    pub async fn run(self, stop: CancellationToken) {
        let lanes = (0..LANES).map(|_| async { while self.step(&stop).await {} });
        join_all(lanes).await;
    }

    /// Waits for a batch and commits it; `false` when there is to be no more.
    pub async fn step(&self, stop: &CancellationToken) -> bool {
        let Some(batch) = stop.run_until_cancelled(self.flow.take()).await else { return false };
        // Those who wait learn of it as well: their answers are dropped.
        if let Err(panic) = guarded(self.flow.commit(batch)).await {
            tracing::error!(panic, "Committing events panicked: {panic}");
        }
        true
    }
}
