//! Tells whoever is on duty what needs a person.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::flows::announce_reviews::AnnounceReviews;
use crate::jobs::{Cadence, Step, repeat};

/// Who asks rings; this is for what a dead process has asked, and for Sentry to come back.
const TICK: Duration = Duration::from_mins(1);

/// The loop.
#[derive(Clone)]
pub(crate) struct AnnounceReviewsJob {
    pub flow: AnnounceReviews,
    /// Rung when something needs a person.
    pub bell: Arc<Notify>,
}

impl AnnounceReviewsJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "announce_reviews", tick: TICK, bell: Some(&self.bell) };
        repeat(cadence, stop, || Box::pin(self.step())).await;
    }

    /// Announces one page.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let announced = self.flow.announce_page().await?;
        Ok(if announced == 0 { Step::Idle } else { Step::Worked })
    }
}
