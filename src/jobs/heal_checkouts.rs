//! Looks after checkouts, several at a time, on as many instances as there are.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::flows::checkout::heal_checkouts::{HealCheckouts, Healed};
use crate::jobs::{Cadence, Step, repeat};

/// Looks under way at the same time: strangers prompt them, and the provider must not notice.
const LANES: usize = 4;

/// The loop.
#[derive(Clone)]
pub(crate) struct HealCheckoutsJob {
    pub flow: HealCheckouts,
    pub tick: Duration,
}

impl HealCheckoutsJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let bell: Arc<Notify> = Arc::clone(&self.flow.wake.checkouts);
        let lanes = (0..LANES).map(|_| {
            let cadence = Cadence { name: "heal_checkouts", tick: self.tick, bell: Some(&bell) };
            repeat(cadence, stop.clone(), || self.step())
        });
        join_all(lanes).await;
    }

    /// Looks after the checkout that is due for longest. While the provider is away that is no work.
    pub async fn step(&self) -> anyhow::Result<Step> {
        Ok(match self.flow.heal_one().await? {
            Healed::One => Step::Worked,
            Healed::NoneDue | Healed::ProviderAway => Step::Idle,
        })
    }
}
