//! Settles webhook events, several at a time, on as many instances as there are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::flows::settling::settle_event::{SettleEvents, Settling};
use crate::jobs::{Cadence, Step, repeat};

/// The loop.
#[derive(Clone)]
pub(crate) struct SettleEventsJob {
    pub flow: SettleEvents,
    pub concurrency: usize,
    pub tick: Duration,
}

impl SettleEventsJob {
    /// Runs until `stop`; events in hand are settled first. Each lane settles one payment at a time, so
    /// that one whose provider hangs holds up nobody else's. One more lane looks for events that a
    /// process has died with.
    pub async fn run(self, stop: CancellationToken) {
        let bell: Arc<Notify> = Arc::clone(&self.flow.wake.events);
        let lanes = (0..self.concurrency).map(|_| {
            let cadence = Cadence { name: "settle_events", tick: self.tick, bell: Some(&bell) };
            repeat(cadence, stop.clone(), || self.settle_next())
        });
        let cadence = Cadence { name: "settle_suspects", tick: self.tick, bell: None };
        let suspects = repeat(cadence, stop.clone(), || self.settle_suspect());
        Box::pin(join(join_all(lanes), suspects)).await;
    }

    /// One step of each kind of lane.
    pub async fn step(&self) -> anyhow::Result<Step> {
        Ok(self.settle_next().await?.or(self.settle_suspect().await?))
    }

    async fn settle_next(&self) -> anyhow::Result<Step> {
        self.flow.settle_next().await.map(|settling| found(settling.as_ref())).map_err(Into::into)
    }

    async fn settle_suspect(&self) -> anyhow::Result<Step> {
        self.flow
            .settle_suspect()
            .await
            .map(|settling| found(settling.as_ref()))
            .map_err(Into::into)
    }
}

/// While the provider is away an event is no work: the rest of the backlog is left alone until the next
/// tick.
fn found(settling: Option<&Settling>) -> Step {
    match settling {
        Some(Settling::Settled | Settling::Failed { .. }) => Step::Worked,
        Some(Settling::Outage { .. }) | None => Step::Idle,
    }
}
