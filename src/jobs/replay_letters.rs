//! Replays dead letters that are due: one loop per queue, so that a slow one keeps no other waiting.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::flows::letters::replay_letter::{Outcome, ReplayLetters};
use crate::jobs::{Cadence, Step, repeat};
use crate::queue::Queue;

/// The loop of one queue.
#[derive(Clone)]
pub(crate) struct ReplayLettersJob {
    pub flow: Arc<ReplayLetters>,
    pub queue: Queue,
    pub tick: Duration,
}

impl ReplayLettersJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "replay_letters", tick: self.tick, bell: None };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Replays what is due. Letters that are held are no work: the loop rests until it looks again.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let outcomes = self.flow.run(self.queue).await?;
        let is_work = !outcomes.is_empty() && !outcomes.contains(&Outcome::Held);
        Ok(if is_work { Step::Worked } else { Step::Idle })
    }
}
