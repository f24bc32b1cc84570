//! In-process wake-ups: what was just written need not wait for the next tick of its loop.

use std::sync::Arc;

use tokio::sync::Notify;

/// The bells of the background loops; ringing one is a hint, the loop's own tick is the guarantee.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wake {
    /// Rung when a webhook event was stored.
    pub events: Arc<Notify>,
    /// Rung when the provider should be asked about a checkout, or to cancel an invoice.
    pub checkouts: Arc<Notify>,
    /// Rung when an outbox row was committed.
    pub outbox: Arc<Notify>,
    /// Rung when a question to a person was committed.
    pub reviews: Arc<Notify>,
}
