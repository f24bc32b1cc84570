//! What the queue `analytics` owes: an event that analytics refused, sent once more. The row in the
//! outbox is the truth; sending it is the only thing that happens outside.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::PgPool;
use uuid::Uuid;

use crate::clients::posthog::{BatchOutcome, FunnelEventOnWire, Posthog};
use crate::clock::Clock;
use crate::db;
use crate::db::outbox::RefusedRow;
use crate::faults;
use crate::flows::letters::handler::{
    Done, Foreseen, ForeseenEvent, Handler, NOT_CONFIGURED, Undone,
};
use crate::queue::{Letter, Payload};

/// What settling them needs.
#[derive(Clone)]
pub(crate) struct OwedAnalytics {
    pub db: PgPool,
    /// None where analytics is switched off: then everything waits.
    pub posthog: Option<Posthog>,
    pub clock: Clock,
}

impl Handler for OwedAnalytics {
    fn knows(&self, payload: &Payload) -> bool {
        row_of(payload).is_ok()
    }

    fn settle<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Done, Undone>> {
        async { self.settle_row(row_of(&letter.payload)?).await }.boxed()
    }

    fn rehearse<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Foreseen, Undone>> {
        async { self.rehearse_row(row_of(&letter.payload)?).await }.boxed()
    }
}

/// The row in the outbox that a letter is about.
fn row_of(payload: &Payload) -> Result<Uuid, Undone> {
    match payload {
        Payload::OutboxRow { row_id } => Ok(*row_id),
        Payload::Event { .. } | Payload::StoredEvent { .. } | Payload::Job { .. } => {
            Err(Undone::failed("misplaced", "the letter is about no event for analytics"))
        }
    }
}

impl OwedAnalytics {
    /// Sends the event, unless it is no longer owed.
    async fn settle_row(&self, row_id: Uuid) -> Result<Done, Undone> {
        let Some(row) = self.prepare(row_id).await? else { return Ok(Done::Elsewhere) };
        self.send(&row).await?;
        faults::step("refused_event_accepted");
        let sent = db::outbox::set_sent_after_all(&self.db, row_id, self.clock.now());
        // Sent twice it is counted once, by its uuid.
        Ok(if db::in_time(sent).await? { Done::Here } else { Done::Elsewhere })
    }

    /// What would be sent. Whether analytics would have it nobody knows but analytics.
    async fn rehearse_row(&self, row_id: Uuid) -> Result<Foreseen, Undone> {
        let Some(row) = self.prepare(row_id).await? else { return Ok(Foreseen::elsewhere()) };
        if let Some(error) = self.posthog()?.refusal() {
            return Err(Undone::of_outage(&error));
        }
        let event = ForeseenEvent { name: row.name, properties: row.properties.0 };
        Ok(Foreseen::here(vec![event]))
    }

    /// The row, if it is still refused.
    async fn prepare(&self, row_id: Uuid) -> Result<Option<RefusedRow>, Undone> {
        let row = db::in_time(db::outbox::find(&self.db, row_id)).await?;
        let row =
            row.ok_or_else(|| Undone::failed("row_missing", "the event is not in the database"))?;
        Ok(row.is_refused.then_some(row))
    }

    async fn send(&self, row: &RefusedRow) -> Result<(), Undone> {
        let event = FunnelEventOnWire {
            event: &row.name,
            uuid: row.uuid,
            distinct_id: &row.distinct_id,
            timestamp: row.happened_at,
            properties: &row.properties.0,
        };
        match self.posthog()?.send_batch(&[event]).await {
            Ok(BatchOutcome::Accepted) => Ok(()),
            Ok(BatchOutcome::Refused) => {
                Err(Undone::failed("refused", "analytics refused the event"))
            }
            Err(error) => Err(Undone::of_outage(&error)),
        }
    }

    fn posthog(&self) -> Result<&Posthog, Undone> {
        self.posthog.as_ref().ok_or(Undone::away(NOT_CONFIGURED))
    }
}
