//! Sends error reports one after the other.

use tokio_util::sync::CancellationToken;

use crate::clients::sentry::Sentry;
use crate::tasks::guarded;

/// Sends what is reported to Sentry.
#[derive(Clone)]
pub struct SendReportsJob {
    /// Where reports wait.
    pub sentry: Sentry,
}

impl SendReportsJob {
    /// Runs until `stop`. What is queued by then is for the flush at the very end, because those
    /// who stop may still have something to report.
    pub async fn run(self, stop: CancellationToken) {
        while let Some(parcel) = stop.run_until_cancelled(self.sentry.next()).await {
            if let Err(panic) = guarded(self.sentry.deliver(parcel)).await {
                tracing::warn!("Sending a report panicked: {panic}");
            }
        }
    }
}
