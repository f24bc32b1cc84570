//! Writes down, page by page, which subscriptions are past their end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::db;
use crate::flows::settling::expire_subscriptions::ExpireSubscriptions;
use crate::jobs::{Cadence, Step, repeat};

const TICK: Duration = Duration::from_mins(1);

/// The loop.
#[derive(Clone)]
pub(crate) struct ExpireSubscriptionsJob {
    pub flow: ExpireSubscriptions,
}

impl ExpireSubscriptionsJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "expire_subscriptions", tick: TICK, bell: None };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Writes down one page.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let written = db::in_time(Box::pin(self.flow.expire_page())).await?;
        Ok(if written == 0 { Step::Idle } else { Step::Worked })
    }
}
