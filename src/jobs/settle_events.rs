//! Settles webhook events, several at a time, on as many instances as there are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::flows::settle_event::SettleEvents;
use crate::jobs::{Cadence, Step, repeat};

/// The loop.
#[derive(Clone)]
pub(crate) struct SettleEventsJob {
    pub flow: SettleEvents,
    pub concurrency: usize,
    pub tick: Duration,
}

impl SettleEventsJob {
    /// Runs until `stop`; events in hand are settled first.
    pub async fn run(self, stop: CancellationToken) {
        let bell: Arc<Notify> = Arc::clone(&self.flow.wake.events);
        let cadence = Cadence { name: "settle_events", tick: self.tick, bell: Some(&bell) };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Claims what is due and settles all of it at the same time. While the provider is away that is
    /// no work: the rest of the backlog is left alone until the next tick.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let limit = i64::try_from(self.concurrency)?;
        let (token, events) = self.flow.claim(limit).await?;
        if events.is_empty() {
            return Ok(Step::Idle);
        }
        let settling = events.into_iter().map(|event| self.flow.settle(token, event));
        let mut found = Step::Idle;
        for is_provider_there in join_all(settling).await {
            if is_provider_there? {
                found = Step::Worked;
            }
        }
        Ok(found)
    }
}
