//! Hands over to the dead-letter queue what failed, and what analytics refused.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::flows::letters::hand_over::HandOver;
use crate::flows::letters::hand_over_refused::HandOverRefused;
use crate::flows::letters::notice_loss::NoticeLoss;
use crate::jobs::{Cadence, Step, repeat};

/// The queue tries nothing before ten minutes have passed; there is no hurry.
const TICK: Duration = Duration::from_secs(5);

/// The loop.
#[derive(Clone)]
pub(crate) struct HandOverJob {
    pub events: HandOver,
    pub refused: HandOverRefused,
    pub loss: NoticeLoss,
}

impl HandOverJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "hand_over", tick: TICK, bell: None };
        repeat(cadence, stop, || Box::pin(self.step())).await;
    }

    /// Hands over what failed since, and what Redis may have lost.
    pub async fn step(&self) -> anyhow::Result<Step> {
        self.loss.run().await?;
        // Whatever keeps the one back is no reason for the other to wait.
        let (events, refused) = (self.events.run().await, self.refused.run().await);
        let handed_over = events? + refused?;
        Ok(if handed_over == 0 { Step::Idle } else { Step::Worked })
    }
}
