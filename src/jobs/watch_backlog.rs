//! Watches what is not done yet, so that a backlog shows on the metrics before a customer calls.

use std::time::Duration;

use metrics::gauge;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::db;
use crate::jobs::{Cadence, Step, repeat};

const TICK: Duration = Duration::from_secs(10);

/// Shows the backlogs of events and of the outbox.
#[derive(Clone)]
pub(crate) struct WatchBacklogJob {
    pub db: PgPool,
    pub clock: Clock,
}

impl WatchBacklogJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "watch_backlog", tick: TICK, bell: None };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Counts what waits, and since when.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let events = db::in_time(db::webhook_events::backlog(&self.db)).await?;
        gauge!("dealix_webhook_events", "state" => "waiting").set(count(events.waiting));
        gauge!("dealix_webhook_events", "state" => "failed").set(count(events.failed));
        gauge!("dealix_webhook_events_oldest_seconds").set(self.age(events.oldest_at));
        let outbox = db::in_time(db::outbox::backlog(&self.db)).await?;
        gauge!("dealix_outbox_events", "state" => "waiting").set(count(outbox.waiting));
        gauge!("dealix_outbox_events_oldest_seconds").set(self.age(outbox.oldest_at));
        let reviews = db::in_time(db::reviews::count_open(&self.db)).await?;
        gauge!("dealix_reviews_open").set(count(reviews));
        Ok(Step::Idle)
    }

    /// Whole seconds since then; nothing that waits is as old as zero.
    fn age(&self, since: Option<chrono::DateTime<chrono::Utc>>) -> u32 {
        let seconds = since.map_or(0, |since| (self.clock.now() - since).num_seconds());
        count(seconds)
    }
}

/// Gauges take what a float holds exactly.
fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}
