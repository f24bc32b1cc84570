//! Looks after the dead-letter queues: what was deleted long ago, and letters of an older layout.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::faults;
use crate::jobs::{Cadence, Step, repeat};
use crate::queue::{Letters, Queue};

const TICK: Duration = Duration::from_secs(10);

/// The loop.
#[derive(Clone)]
pub(crate) struct TidyLettersJob {
    pub letters: Letters,
    pub clock: Clock,
}

impl TidyLettersJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "tidy_letters", tick: TICK, bell: None };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Tidies a page of every queue.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let mut tidied = 0;
        for queue in Queue::ALL {
            tidied += self.letters.tidy(queue, self.clock.now()).await?;
        }
        if tidied == 0 {
            return Ok(Step::Idle);
        }
        faults::step("letters_tidied");
        Ok(Step::Worked)
    }
}
