//! What we do unasked: the background loops, each a `step()` that a test can call.

pub(crate) mod adopt_old_lists;
pub(crate) mod announce_reviews;
pub(crate) mod call_for_help;
pub(crate) mod cancel_invoices;
pub(crate) mod check_health;
pub(crate) mod commit_events;
pub(crate) mod deliver_events;
pub(crate) mod expire_subscriptions;
pub(crate) mod follow_overrides;
pub(crate) mod forget_keys;
pub(crate) mod hand_over;
pub(crate) mod heal_checkouts;
pub(crate) mod keep_quarantine;
pub(crate) mod redrive;
pub(crate) mod replay_letters;
pub(crate) mod send_reports;
pub(crate) mod settle_events;
pub(crate) mod tidy_letters;
pub(crate) mod upkeep;
pub(crate) mod watch_backlog;

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
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

/// Longest time one step may take: what hangs for longer is given up, and its leases end by themselves.
const STEP_LIMIT: Duration = Duration::from_secs(25);

/// While steps keep failing, how often that is said.
const REMINDER: Duration = Duration::from_secs(60);

/// Runs `next` until `stop`. A step that fails, hangs or panics is logged and costs one rest, so that
/// nothing spins and nothing but the loop's own end can stop it. A trouble that lasts is logged when
/// it begins, once a minute, and when it is over.
pub(crate) async fn repeat<F>(
    cadence: Cadence<'_>,
    stop: CancellationToken,
    mut next: impl FnMut() -> F,
) where
    F: Future<Output = anyhow::Result<Step>>,
{
    let Cadence { name, tick, bell } = cadence;
    let mut trouble = Trouble::default();
    while !stop.is_cancelled() {
        match guarded(tokio::time::timeout(STEP_LIMIT, next())).await {
            Ok(Ok(Ok(found))) => {
                trouble.is_over(name);
                if found == Step::Worked {
                    continue;
                }
            }
            Ok(Ok(Err(error))) => trouble.goes_on(name, &format!("{error:#}")),
            Ok(Err(_)) => trouble.goes_on(name, "it took too long"),
            Err(panic) => trouble.goes_on(name, &format!("it panicked: {panic}")),
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

/// Steps that fail one after the other.
#[derive(Default)]
struct Trouble {
    last_told: Option<Instant>,
}

impl Trouble {
    fn goes_on(&mut self, job: &'static str, cause: &str) {
        if self.last_told.is_none_or(|told| told.elapsed() >= REMINDER) {
            self.last_told = Some(Instant::now());
            tracing::error!(job, cause, "Steps of {job} fail: {cause}");
        }
    }

    fn is_over(&mut self, job: &'static str) {
        if self.last_told.take().is_some() {
            tracing::info!(job, "Steps of {job} succeed again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn steps_of(outcome: impl AsyncFn(u32) -> anyhow::Result<Step>, wanted: u32) -> u32 {
        let (stop, count) = (CancellationToken::new(), Cell::new(0));
        let cadence = Cadence { name: "test", tick: Duration::from_secs(1), bell: None };
        let next = || {
            count.set(count.get() + 1);
            if count.get() == wanted {
                stop.cancel();
            }
            outcome(count.get())
        };
        repeat(cadence, stop.clone(), next).await;
        count.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_worked_is_followed_at_once_and_an_idle_one_by_a_rest() {
        let began = Instant::now();
        assert_eq!(steps_of(async |_| Ok(Step::Worked), 100).await, 100);
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(steps_of(async |_| Ok(Step::Idle), 3).await, 3);
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_fails_panics_or_hangs_does_not_end_the_loop() {
        let began = Instant::now();
        let outcome = async |count| match count {
            1 => anyhow::bail!("no luck"),
            2 => panic!("none at all"),
            3 => std::future::pending().await,
            _ => Ok(Step::Idle),
        };
        assert_eq!(steps_of(outcome, 4).await, 4);
        assert_eq!(began.elapsed(), Duration::from_secs(3) + STEP_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bell_ends_a_rest_early() {
        let (stop, bell) = (CancellationToken::new(), Notify::new());
        let cadence = Cadence { name: "test", tick: Duration::from_hours(1), bell: Some(&bell) };
        let count = Cell::new(0);
        let began = Instant::now();
        let next = || {
            count.set(count.get() + 1);
            bell.notify_one();
            if count.get() == 2 {
                stop.cancel();
            }
            async { Ok(Step::Idle) }
        };
        repeat(cadence, stop.clone(), next).await;
        assert_eq!((count.get(), began.elapsed()), (2, Duration::ZERO));
    }
}
