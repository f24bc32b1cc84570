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
    /// Runs until `stop`; events in hand are settled first. Each lane takes one event at a time, so that
    /// one whose provider hangs holds up nobody else's.
    pub async fn run(self, stop: CancellationToken) {
        let bell: Arc<Notify> = Arc::clone(&self.flow.wake.events);
        let lanes = (0..self.concurrency).map(|_| {
            let cadence = Cadence { name: "settle_events", tick: self.tick, bell: Some(&bell) };
            repeat(cadence, stop.clone(), || self.step())
        });
        join_all(lanes).await;
    }

    /// Settles the event that is due for longest. While the provider is away that is no work: the rest
    /// of the backlog is left alone until the next tick.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let (token, events) = self.flow.claim(1).await?;
        let mut found = Step::Idle;
        for event in events {
            if self.flow.settle(token, event).await? {
                found = Step::Worked;
            }
        }
        Ok(found)
    }
}
