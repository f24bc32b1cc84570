//! Sends what is in the outbox.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::flows::deliver_events::DeliverEvents;
use crate::jobs::{Cadence, Step, repeat};

/// The loop.
#[derive(Clone)]
pub(crate) struct DeliverEventsJob {
    pub flow: DeliverEvents,
    pub bell: Arc<Notify>,
    pub tick: Duration,
}

impl DeliverEventsJob {
    /// Runs until `stop`; the batch in hand is finished first.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "deliver_events", tick: self.tick, bell: Some(&self.bell) };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Sends one batch.
    pub async fn step(&self) -> anyhow::Result<Step> {
        Ok(if self.flow.run().await? { Step::Worked } else { Step::Idle })
    }
}
