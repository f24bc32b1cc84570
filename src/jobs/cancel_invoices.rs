//! Cancels invoices that are one too many, one at a time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::flows::checkout::cancel_invoices::CancelInvoices;
use crate::jobs::{Cadence, Step, repeat};

/// Nobody waits for it.
const TICK: Duration = Duration::from_secs(5);

/// The loop.
#[derive(Clone)]
pub(crate) struct CancelInvoicesJob {
    pub flow: CancelInvoices,
}

impl CancelInvoicesJob {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let cadence = Cadence { name: "cancel_invoices", tick: TICK, bell: None };
        repeat(cadence, stop, || self.step()).await;
    }

    /// Deals with the invoice that waits for longest.
    pub async fn step(&self) -> anyhow::Result<Step> {
        Ok(if self.flow.cancel_one().await? { Step::Worked } else { Step::Idle })
    }
}
