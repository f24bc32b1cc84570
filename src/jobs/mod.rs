//! What we do unasked: the background loops, each a `step()` that a test can call.

pub(crate) mod deliver_events;
pub(crate) mod settle_events;

use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::tasks::guarded;

/// What one step of a background loop found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There was work; look again at once.
    Worked,
    /// There was nothing to do; rest.
    Idle,
}

impl Step {
    /// Whether either of two steps found work.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::Idle { other } else { self }
    }
}

/// When a loop looks again.
pub(crate) struct Cadence<'a> {
    /// The loop's name in logs.
    pub name: &'static str,
    /// Longest rest between two steps.
    pub tick: Duration,
    /// Ends a rest early.
    pub bell: Option<&'a Notify>,
}

/// Runs `next` until `stop`. A step that fails or panics is logged and costs one rest, so that
/// nothing spins and nothing but the loop's own end can stop it.
pub(crate) async fn repeat<F>(
    cadence: Cadence<'_>,
    stop: CancellationToken,
    mut next: impl FnMut() -> F,
) where
    F: Future<Output = anyhow::Result<Step>>,
{
    let Cadence { name, tick, bell } = cadence;
    while !stop.is_cancelled() {
        match guarded(next()).await {
            Ok(Ok(Step::Worked)) => continue,
            Ok(Ok(Step::Idle)) => (),
            Ok(Err(error)) => tracing::error!(job = name, "A step of {name} failed: {error:#}"),
            Err(panic) => tracing::error!(job = name, "A step of {name} panicked: {panic}"),
        }
        let rung = async {
            match bell {
                Some(bell) => bell.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(tick) => (),
            () = rung => (),
            () = stop.cancelled() => (),
        }
    }
}
