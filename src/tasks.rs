//! The background tasks of the process, their one shutdown signal, and the guards around panics.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns tasks and waits for all of them on shutdown. The only place that may call `tokio::spawn`.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    broken: Arc<AtomicBool>,
}

impl Tasks {
    /// Tasks that stop with these, or earlier: requests before the jobs that they may need.
    #[must_use]
    pub fn child(&self) -> Self {
        let tracker = TaskTracker::new();
        Self { tracker, stop: self.stop.child_token(), broken: Arc::clone(&self.broken) }
    }

    /// Starts a loop that must live as long as the process, handing it the token that is cancelled
    /// when the process should stop. A loop that dies earlier takes the process down, loudly.
    pub fn start<F>(&self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, broken) = (self.stop.clone(), Arc::clone(&self.broken));
        let task = task(stop.child_token());
        self.tracker.spawn(async move {
            let end = guarded(task).await;
            if !stop.is_cancelled() {
                let cause = end.err().unwrap_or_else(|| "it returned".to_owned());
                tracing::error!(task = name, cause, "The loop {name} died: {cause}");
                broken.store(true, Ordering::Release);
                stop.cancel();
            }
        });
    }

    /// Starts a piece of work that ends by itself; shutdown waits for it.
    pub fn spawn<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(async move {
            if let Err(panic) = guarded(work).await {
                tracing::error!(panic, "A background task panicked: {panic}");
            }
        });
    }

    /// Runs a piece of work to its end, also when nobody waits for its result any more.
    pub(crate) async fn finish<F>(&self, work: F) -> Result<F::Output, String>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let done = self.tracker.spawn(guarded(work)).await;
        done.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Cancelled when the process should stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Whether a loop died of its own.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Asks every task to stop and waits until the last one has, at most `patience`; tells whether
    /// all of them did.
    pub async fn stop(&self, patience: Duration) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait()).await.is_ok()
    }
}

/// Runs one piece of work so that its panic is an error of this piece alone.
pub(crate) async fn guarded<F: Future>(work: F) -> Result<F::Output, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| panic_text(panic.as_ref()))
}

/// What a panic said, if it said it in words.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_dies_stops_the_process() {
        let tasks = Tasks::default();
        tasks.start("fragile", async |_| panic!("out of luck"));
        tasks.stopping().cancelled().await;
        assert!(tasks.is_broken());
    }

    #[tokio::test]
    async fn a_loop_that_stops_when_asked_is_not_broken() {
        let tasks = Tasks::default();
        tasks.start("steady", |stop| async move { stop.cancelled().await });
        assert!(tasks.stop(Duration::from_secs(5)).await);
        assert!(!tasks.is_broken());
    }

    #[tokio::test]
    async fn work_goes_on_when_nobody_waits_for_it_any_more() {
        let tasks = Tasks::default();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go, may_go) = tokio::sync::oneshot::channel::<()>();
        let (end, has_ended) = tokio::sync::oneshot::channel();
        let work = async move {
            begun.send(()).unwrap();
            may_go.await.unwrap();
            end.send(()).unwrap();
        };
        tokio::select! {
            _ = tasks.finish(work) => panic!("it may not end yet"),
            begun = has_begun => begun.unwrap(),
        }
        go.send(()).unwrap();
        has_ended.await.unwrap();
        assert_eq!(tasks.finish(async { 7 }).await, Ok(7));
        assert_eq!(tasks.finish(async { panic!("no luck") }).await, Err::<(), _>("no luck".into()));
    }

    #[tokio::test]
    async fn requests_stop_before_the_jobs_and_never_after_them() {
        let jobs = Tasks::default();
        let requests = jobs.child();
        assert!(requests.stop(Duration::from_secs(5)).await);
        assert!(!jobs.stopping().is_cancelled());

        let requests = jobs.child();
        jobs.start("fragile", async |_| panic!("out of luck"));
        requests.stopping().cancelled().await;
        assert!(requests.is_broken());
    }

    #[tokio::test]
    async fn a_panic_in_one_piece_of_work_stays_there() {
        let tasks = Tasks::default();
        tasks.spawn(async { panic!("only me") });
        assert_eq!(
            guarded(async { panic!("{} too", "me") }).await,
            Err::<(), _>("me too".to_owned())
        );
        assert!(tasks.stop(Duration::from_secs(5)).await);
        assert!(!tasks.is_broken());
    }
}
