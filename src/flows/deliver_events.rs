//! Tell analytics what happened: outbox rows in batches, each event the same on every send.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::clients::ClientError;
use crate::clients::posthog::{BatchOutcome, FunnelEventOnWire, Posthog};
use crate::clock::Clock;
use crate::db;
use crate::db::outbox::ClaimedRow;
use crate::faults;

/// How soon analytics is asked again when it did not answer.
const OUTAGE_PAUSE: Duration = Duration::from_secs(10);

/// What delivering events needs.
#[derive(Clone)]
pub struct DeliverEvents {
    pub db: PgPool,
    pub posthog: Posthog,
    pub batch_size: i64,
    /// How long a row belongs to whoever claimed it.
    pub lease: TimeDelta,
    pub clock: Clock,
}

impl DeliverEvents {
    /// Sends one batch of what is due; tells whether there was any.
    pub async fn run(&self) -> sqlx::Result<bool> {
        let (token, now) = (Uuid::new_v4(), self.clock.now());
        let limit = self.batch_size;
        let claim = db::outbox::claim(&self.db, token, now, now + self.lease, limit);
        let mut rows = db::in_time(claim).await?;
        rows.sort_by_key(|row| row.id);
        if rows.is_empty() {
            return Ok(false);
        }
        faults::step("outbox_claimed");
        // Halves of what analytics refuses, until the event that it will not have stands alone.
        let mut parts = vec![rows.as_slice()];
        while let Some(part) = parts.pop() {
            match (self.send(part).await, part) {
                (Ok(BatchOutcome::Accepted), part) => {
                    faults::step("outbox_accepted");
                    let ids = ids(part);
                    let set_sent = db::outbox::set_sent(&self.db, &ids, token, self.clock.now());
                    db::in_time(set_sent).await?;
                    faults::step("outbox_marked");
                }
                (Ok(BatchOutcome::Refused), [row]) => self.set_refused(row, token).await?,
                (Ok(BatchOutcome::Refused), part) => {
                    let (older, newer) = part.split_at(part.len() / 2);
                    parts.extend([newer, older]);
                }
                (Err(error), part) => {
                    let waiting: Vec<_> =
                        parts.into_iter().flat_map(ids).chain(ids(part)).collect();
                    return self.wait_out(&waiting, token, &error).await.map(|()| false);
                }
            }
        }
        Ok(true)
    }

    async fn send(&self, rows: &[ClaimedRow]) -> Result<BatchOutcome, ClientError> {
        let events: Vec<_> = rows
            .iter()
            .map(|row| FunnelEventOnWire {
                event: &row.name,
                uuid: row.uuid,
                distinct_id: &row.distinct_id,
                timestamp: row.happened_at,
                properties: &row.properties.0,
            })
            .collect();
        self.posthog.send_batch(&events).await
    }

    async fn set_refused(&self, row: &ClaimedRow, token: Uuid) -> sqlx::Result<()> {
        tracing::error!(outbox.uuid = %row.uuid, "Analytics refused the event {}", row.name);
        let now = self.clock.now();
        faults::step("outbox_refused");
        db::in_time(db::outbox::set_refused(&self.db, row.id, token, "refused", now)).await?;
        faults::step("outbox_refusal_marked");
        Ok(())
    }

    /// An outage is nobody's attempt: the rows stay, and go out when analytics is back.
    async fn wait_out(&self, ids: &[i64], token: Uuid, error: &ClientError) -> sqlx::Result<()> {
        let pause = match error {
            ClientError::BreakerOpen { retry_after, .. } => {
                (*retry_after).max(Duration::from_secs(1))
            }
            ClientError::Passive { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Status { .. }
            | ClientError::Unreadable { .. } => OUTAGE_PAUSE,
        };
        let next: DateTime<Utc> = self.clock.now() + pause;
        db::in_time(db::outbox::release(&self.db, ids, token, error.class(), next)).await
    }
}

fn ids(rows: &[ClaimedRow]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}
