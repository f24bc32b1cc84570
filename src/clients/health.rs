//! How an outside service is: judged by its breaker and by how the last call went, and asked for a
//! free read only when nobody has called it for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clients::ClientError;
use crate::clients::breaker::{Breaker, LastCall, Snapshot, State};
use crate::clock::Clock;
use crate::domain::health::{ErrorClass, Facts, Finding, Status};

/// One outside service, as its health is seen.
pub struct Service {
    breaker: Arc<Breaker>,
    clock: Clock,
    idle_after: Duration,
    /// When a read began that has not ended; it stays after the read was given up.
    waiting_since: Mutex<Option<Instant>>,
}

impl Service {
    /// A service that is left alone for at least `idle_after` between two reads of ours.
    pub fn new(breaker: Arc<Breaker>, clock: Clock, idle_after: Duration) -> Self {
        Self { breaker, clock, idle_after, waiting_since: Mutex::default() }
    }

    /// How it is. May be given up at any time: a `probe` that does not end is remembered.
    pub async fn look(&self, probe: impl Future<Output = Result<(), ClientError>>) -> Finding {
        if self.is_idle() {
            self.note_waiting(Some(self.clock.monotonic()));
            let answer = probe.await;
            self.note_waiting(None);
            if let Err(ClientError::Passive { .. }) = answer {
                return Finding::disabled();
            }
        }
        let snapshot = self.breaker.snapshot();
        let waiting = self.waiting();
        let is_news = |waiting: &Duration| {
            snapshot.last_call.is_none_or(|last_call| last_call.age > *waiting)
        };
        judge(&snapshot, waiting.filter(is_news))
    }

    /// Whether neither a caller nor we have asked it for a while.
    fn is_idle(&self) -> bool {
        let last_call = self.breaker.snapshot().last_call;
        let ages = [last_call.map(|last_call| last_call.age), self.waiting()];
        ages.into_iter().flatten().all(|age| age >= self.idle_after)
    }

    fn note_waiting(&self, since: Option<Instant>) {
        *self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn waiting(&self) -> Option<Duration> {
        let since = *self.waiting_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| self.clock.monotonic().saturating_duration_since(since))
    }
}

/// What the breaker and the last call, or a read that hangs since, say together.
fn judge(snapshot: &Snapshot, hanging: Option<Duration>) -> Finding {
    let state = snapshot.state;
    let finding = if state == State::Open {
        let text = snapshot.last_error.clone().unwrap_or_else(|| "its breaker is open".to_owned());
        Finding::failed(ErrorClass::BreakerOpen, text)
    } else if let Some(hanging) = hanging {
        let text = format!("asked {}s ago, no answer yet", hanging.as_secs());
        Finding::failed(ErrorClass::Timeout, text)
    } else {
        match snapshot.last_call {
            Some(last_call) => judge_call(last_call),
            None => Finding::bare(Status::Unknown),
        }
    };
    Finding { facts: Facts::Breaker(state.name()), ..finding }
}

fn judge_call(LastCall { took, error, .. }: LastCall) -> Finding {
    let class = match error {
        // It refused what one caller wanted, so it is there and well.
        None | Some("refused") => return Finding::ok(took),
        Some("auth") => ErrorClass::Auth,
        Some("timeout") => ErrorClass::Timeout,
        Some("unreachable") => ErrorClass::Unreachable,
        Some(_) => ErrorClass::Refused,
    };
    Finding::failed(class, format!("the last call failed: {}", error.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt;
    use reqwest::StatusCode;

    use super::*;
    use crate::config::BreakerConfig;

    const IDLE: Duration = Duration::from_mins(1);
    const RULES: BreakerConfig = BreakerConfig {
        consecutive_failures: 2,
        window_secs: 60,
        window_calls: 0,
        minimum_calls: 10,
        failure_percent: 50,
        slow_percent: 80,
        slow_call_ms: 5000,
        cooldown_secs: 60,
        max_cooldown_secs: 300,
        probe_lease_secs: 30,
    };

    struct World {
        clock: Clock,
        service: Service,
        probes: u32,
    }

    impl World {
        fn new(is_passive: bool) -> Self {
            let clock = Clock::held("2026-01-02T03:04:05Z".parse().unwrap());
            let breaker = Arc::new(Breaker::new("shop", RULES, clock.clone(), is_passive));
            let service = Service::new(breaker, clock.clone(), IDLE);
            Self { clock, service, probes: 0 }
        }

        async fn look(&mut self, answer: Option<StatusCode>) -> Finding {
            let breaker = Arc::clone(&self.service.breaker);
            let probe = async {
                self.probes += 1;
                breaker.call(ready(call(answer))).await
            };
            self.service.look(probe).await
        }

        async fn serve(&self, answer: Option<StatusCode>) {
            drop(self.service.breaker.call(ready(call(answer))).await);
        }
    }

    fn call(answer: Option<StatusCode>) -> Result<(), ClientError> {
        let status = |status| ClientError::Status { client: "shop", status, retry_after: None };
        answer.map_or(Ok(()), |answer| Err(status(answer)))
    }

    #[tokio::test]
    async fn an_idle_service_is_asked_once_a_minute_and_a_busy_one_never() {
        let mut world = World::new(false);
        assert_eq!(world.look(None).await.status, Status::Ok);
        world.clock.advance(IDLE.saturating_sub(Duration::from_millis(1)));
        assert_eq!(world.look(None).await.status, Status::Ok);
        assert_eq!(world.probes, 1);
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(world.look(None).await.status, Status::Ok);
        assert_eq!(world.probes, 2);
        for _ in 0..10 {
            world.clock.advance(Duration::from_secs(59));
            world.serve(None).await;
            assert_eq!(world.look(None).await.facts, Facts::Breaker("closed"));
        }
        assert_eq!(world.probes, 2);
    }

    #[tokio::test]
    async fn the_last_call_decides_and_a_refused_customer_is_no_trouble() {
        let cases = [
            (StatusCode::BAD_REQUEST, Status::Ok, None),
            (StatusCode::UNAUTHORIZED, Status::Fail, Some(ErrorClass::Auth)),
            (StatusCode::BAD_GATEWAY, Status::Fail, Some(ErrorClass::Refused)),
        ];
        for (answer, status, error) in cases {
            let mut world = World::new(false);
            world.serve(None).await;
            world.serve(Some(answer)).await;
            let finding = world.look(None).await;
            assert_eq!((finding.status, finding.error), (status, error), "{answer}");
            world.serve(None).await;
            assert_eq!(world.look(None).await.status, Status::Ok);
            assert_eq!(world.probes, 0);
        }
    }

    #[tokio::test]
    async fn an_open_breaker_fails_the_service_until_a_probe_closes_it() {
        let mut world = World::new(false);
        world.serve(Some(StatusCode::BAD_GATEWAY)).await;
        world.serve(Some(StatusCode::BAD_GATEWAY)).await;
        let finding = world.look(None).await;
        assert_eq!(finding.error, Some(ErrorClass::BreakerOpen));
        assert_eq!(finding.facts, Facts::Breaker("open"));
        assert_eq!(world.probes, 0);
        world.clock.advance(Duration::from_mins(1));
        assert_eq!(world.look(None).await.facts, Facts::Breaker("closed"));
        assert_eq!(world.probes, 1);
    }

    #[tokio::test]
    async fn a_read_that_hangs_is_a_timeout_until_a_call_says_otherwise() {
        let mut world = World::new(false);
        world.serve(None).await;
        world.clock.advance(IDLE);
        // The check is given up while it waits for the answer.
        assert!(world.service.look(pending()).now_or_never().is_none());
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(world.look(None).await.error, Some(ErrorClass::Timeout));
        assert_eq!(world.probes, 0);
        world.serve(None).await;
        assert_eq!(world.look(None).await.status, Status::Ok);
        world.clock.advance(IDLE);
        assert_eq!(world.look(None).await.status, Status::Ok);
        assert_eq!(world.probes, 1);
    }

    #[tokio::test]
    async fn a_passive_process_asks_nobody() {
        let mut world = World::new(true);
        assert_eq!(world.look(None).await, Finding::disabled());
    }

    #[test]
    fn every_class_of_a_call_has_its_word() {
        let took = Duration::from_millis(3);
        let class = |error| judge_call(LastCall { age: IDLE, took, error }).error;
        assert_eq!(class(None), None);
        assert_eq!(class(Some("timeout")), Some(ErrorClass::Timeout));
        assert_eq!(class(Some("unreachable")), Some(ErrorClass::Unreachable));
        assert_eq!(class(Some("unreadable")), Some(ErrorClass::Refused));
        assert_eq!(judge_call(LastCall { age: IDLE, took, error: None }).took, Some(took));
    }
}
