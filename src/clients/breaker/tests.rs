//! The breaker as its callers see it: permits, concurrency, what people are shown.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::StatusCode;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::*;

const RULES: BreakerConfig = BreakerConfig {
    consecutive_failures: 5,
    window_secs: 60,
    minimum_calls: 10,
    failure_percent: 50,
    slow_percent: 80,
    slow_call_ms: 5_000,
    cooldown_secs: 60,
    max_cooldown_secs: 300,
    probe_lease_secs: 30,
};
const CALLERS: usize = 10_000;

fn breaker() -> (Breaker, Clock) {
    let clock = Clock::held("2026-11-20T09:00:00Z".parse().unwrap());
    (Breaker::new("moyasar", RULES, clock.clone(), false), clock)
}

fn half_open() -> (Breaker, Clock) {
    let (breaker, clock) = breaker();
    fail(&breaker, 5);
    clock.advance(Duration::from_mins(1));
    (breaker, clock)
}

fn status(status: StatusCode) -> ClientError {
    ClientError::Status { client: "moyasar", status, retry_after: None }
}

fn fail(breaker: &Breaker, times: u32) {
    for _ in 0..times {
        breaker.acquire().unwrap().record(Some(&status(StatusCode::BAD_GATEWAY)));
    }
}

async fn answer(breaker: &Breaker, with: StatusCode) -> Result<(), ClientError> {
    breaker.call(async { if with.is_success() { Ok(()) } else { Err(status(with)) } }).await
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[tokio::test]
async fn outages_open_it_and_an_open_one_answers_without_calling() {
    let (breaker, clock) = breaker();
    let outages = [
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::GATEWAY_TIMEOUT,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::REQUEST_TIMEOUT,
    ];
    for outage in outages {
        assert!(matches!(answer(&breaker, outage).await, Err(ClientError::Status { .. })));
    }
    clock.advance(Duration::from_secs(18));
    let rejected: Result<(), _> = breaker.call(async { panic!("called") }).await;
    let Err(ClientError::BreakerOpen { client, retry_after }) = rejected else {
        panic!("{rejected:?}")
    };
    assert_eq!((client, retry_after), ("moyasar", Duration::from_secs(42)));
}

#[tokio::test]
async fn refusals_never_open_it() {
    let (breaker, _) = breaker();
    for refusal in [400, 401, 403, 404, 405, 409, 422].repeat(10) {
        let refusal = StatusCode::from_u16(refusal).unwrap();
        assert!(answer(&breaker, refusal).await.is_err());
    }
    assert_eq!(breaker.snapshot().state, State::Closed);
    assert_eq!(breaker.snapshot().window, Tally { calls: 70, failures: 0, slow: 0 });
    assert_eq!(breaker.snapshot().last_error, None);
}

#[tokio::test]
async fn a_refused_probe_closes_it_because_the_service_answers() {
    let (breaker, _clock) = half_open();
    assert!(answer(&breaker, StatusCode::NOT_FOUND).await.is_err());
    assert_eq!(breaker.snapshot().state, State::Closed);
}

#[tokio::test]
async fn the_retry_after_of_the_last_straw_is_honoured() {
    let (breaker, clock) = breaker();
    fail(&breaker, 4);
    let limited = ClientError::Status {
        client: "moyasar",
        status: StatusCode::TOO_MANY_REQUESTS,
        retry_after: Some(Duration::from_secs(90)),
    };
    breaker.acquire().unwrap().record(Some(&limited));
    clock.advance(Duration::from_millis(89_999));
    assert_eq!(breaker.snapshot().state, State::Open);
    clock.advance(Duration::from_millis(1));
    assert_eq!(breaker.snapshot().state, State::HalfOpen);
}

#[tokio::test]
async fn a_probe_that_took_too_long_by_the_clock_opens_it_again() {
    let (breaker, clock) = half_open();
    let slow = breaker.call(async {
        clock.advance(Duration::from_millis(5_001));
        Ok(())
    });
    slow.await.unwrap();
    assert_eq!(breaker.snapshot().state, State::Open);
}

#[test]
fn jitter_keeps_the_second_cooldown_between_once_and_twice_the_first() {
    for _ in 0..50 {
        let (breaker, clock) = half_open();
        fail(&breaker, 1);
        clock.advance(Duration::from_millis(59_999));
        assert_eq!(breaker.snapshot().state, State::Open);
        clock.advance(Duration::from_millis(60_001));
        assert_eq!(breaker.snapshot().state, State::HalfOpen);
    }
}

#[tokio::test]
async fn a_probe_whose_caller_went_away_does_not_leave_it_half_open_for_good() {
    let (breaker, _clock) = half_open();
    {
        let mut hung = pin!(breaker.call(std::future::pending::<Result<(), ClientError>>()));
        assert!(hung.as_mut().now_or_never().is_none());
        assert!(breaker.acquire().is_err());
    }
    assert_eq!(breaker.snapshot().state, State::HalfOpen);
    answer(&breaker, StatusCode::OK).await.unwrap();
    assert_eq!(breaker.snapshot().state, State::Closed);
}

#[tokio::test]
async fn a_probe_that_panics_does_not_leave_it_half_open_for_good() {
    let (breaker, _clock) = half_open();
    let call = breaker.call::<()>(async { panic!("out of luck") });
    assert!(AssertUnwindSafe(call).catch_unwind().await.is_err());
    answer(&breaker, StatusCode::OK).await.unwrap();
    assert_eq!(breaker.snapshot().state, State::Closed);
}

#[tokio::test]
async fn a_permitted_call_that_never_reports_does_not_leave_it_half_open_for_good() {
    let (breaker, clock) = half_open();
    let silent = breaker.acquire().unwrap();
    clock.advance(Duration::from_secs(30));
    answer(&breaker, StatusCode::OK).await.unwrap();
    assert_eq!(breaker.snapshot().state, State::Closed);
    silent.record(Some(&status(StatusCode::BAD_GATEWAY)));
    assert_eq!(breaker.snapshot().failure_count, 0);
}

#[tokio::test]
async fn dropped_calls_of_a_closed_breaker_count_as_never_made() {
    let (breaker, _) = breaker();
    for _ in 0..20 {
        drop(breaker.acquire().unwrap());
    }
    assert_eq!(breaker.snapshot().window, Tally::default());
    assert_eq!(breaker.snapshot().last_call, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_concurrent_callers_one_is_the_probe_and_never_more() {
    let (breaker, _clock) = half_open();
    let breaker = Arc::new(breaker);
    for round in 0..3 {
        let (start, end) = (Arc::new(Barrier::new(CALLERS)), Arc::new(Barrier::new(CALLERS)));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (breaker, start, end) =
                (Arc::clone(&breaker), Arc::clone(&start), Arc::clone(&end));
            callers.spawn(async move {
                start.wait().await;
                let permit = breaker.acquire();
                // Nobody gives his permit back before everybody has asked.
                end.wait().await;
                permit.is_ok()
            });
        }
        let asked = callers.join_all().await;
        let probes = asked.into_iter().filter(|is_probe| *is_probe).count();
        assert_eq!(probes, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn probes_go_one_after_the_other_while_ten_thousand_callers_come_and_go() {
    let (breaker, _clock) = half_open();
    let breaker = Arc::new(breaker);
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (breaker, under_way, most) =
            (Arc::clone(&breaker), Arc::clone(&under_way), Arc::clone(&most));
        callers.spawn(async move {
            let Ok(permit) = breaker.acquire() else { return };
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            under_way.fetch_sub(1, Ordering::SeqCst);
            drop(permit);
        });
    }
    callers.join_all().await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
    assert_eq!(breaker.snapshot().state, State::HalfOpen);
}

#[test]
fn looking_at_it_ten_thousand_times_takes_no_permit_and_changes_nothing() {
    let (breaker, _clock) = half_open();
    let first = breaker.snapshot();
    for _ in 0..CALLERS {
        assert_eq!(breaker.snapshot(), first);
    }
    assert!(breaker.acquire().is_ok());
}

#[tokio::test]
async fn a_passive_breaker_lets_nothing_through() {
    let clock = Clock::default();
    let breaker = Breaker::new("posthog", RULES, clock, true);
    let refused: Result<(), _> = breaker.call(async { panic!("called") }).await;
    assert!(matches!(refused, Err(ClientError::Passive { client: "posthog" })));
    assert_eq!(breaker.snapshot().state, State::Closed);
}

#[test]
fn people_see_when_it_opened_when_it_tries_again_and_why() {
    let (breaker, clock) = breaker();
    let fresh = breaker.snapshot();
    assert_eq!((fresh.name, fresh.state), ("moyasar", State::Closed));
    assert_eq!((fresh.failure_count, fresh.failure_threshold), (0, 5));
    assert_eq!(fresh.recovery_timeout, Duration::from_mins(1));
    assert_eq!((fresh.opened_at, fresh.retry_at), (None, None));
    assert_eq!((fresh.last_error, fresh.last_call), (None, None));
    assert_eq!(fresh.transitions, []);

    clock.advance(Duration::from_secs(10));
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(5));
    let open = breaker.snapshot();
    assert_eq!((open.state, open.failure_count), (State::Open, 5));
    assert_eq!(open.window, Tally { calls: 5, failures: 5, slow: 0 });
    assert_eq!(open.opened_at, Some(time("2026-11-20T09:00:10Z")));
    assert_eq!(open.retry_at, Some(time("2026-11-20T09:01:10Z")));
    assert_eq!(open.last_error.as_deref(), Some("server_error: moyasar answered 502 Bad Gateway"));

    clock.advance(Duration::from_mins(10));
    let half_open = breaker.snapshot();
    assert_eq!(half_open.state, State::HalfOpen);
    assert_eq!((half_open.opened_at, half_open.retry_at), (open.opened_at, None));
    assert_eq!(half_open.window, Tally::default());

    breaker.acquire().unwrap().record(None);
    let closed = breaker.snapshot();
    assert_eq!((closed.state, closed.failure_count), (State::Closed, 0));
    assert_eq!((closed.opened_at, closed.retry_at), (None, None));
    assert_eq!(closed.last_error, open.last_error, "what happened last stays to be read");
    let told: Vec<_> = closed
        .transitions
        .iter()
        .map(|step| (step.at.to_rfc3339(), step.from.name(), step.to.name(), step.cause.name()))
        .collect();
    let at = |time: &str| format!("2026-11-20T{time}+00:00");
    assert_eq!(
        told,
        [
            (at("09:00:10"), "closed", "open", "consecutive_failures"),
            (at("09:01:10"), "open", "half_open", "cooldown_over"),
            (at("09:10:15"), "half_open", "closed", "probe_succeeded"),
        ]
    );
}

#[test]
fn the_last_twenty_changes_of_state_are_remembered() {
    let (breaker, clock) = half_open();
    for _ in 0..20 {
        fail(&breaker, 1);
        clock.advance(Duration::from_mins(5));
        assert_eq!(breaker.snapshot().state, State::HalfOpen);
    }
    breaker.acquire().unwrap().record(None);
    let transitions = breaker.snapshot().transitions;
    assert_eq!(transitions.len(), 20);
    assert_eq!(transitions[19].cause, Cause::ProbeSucceeded);
    assert_eq!(transitions[0].cause, Cause::CooldownOver);
    assert!(transitions.is_sorted_by_key(|transition| transition.at));
}

#[test]
fn the_last_call_is_remembered_with_its_age_its_length_and_its_error() {
    let (breaker, clock) = breaker();
    let permit = breaker.acquire().unwrap();
    clock.advance(Duration::from_millis(250));
    permit.record(Some(&status(StatusCode::UNAUTHORIZED)));
    clock.advance(Duration::from_secs(7));
    let last_call = breaker.snapshot().last_call.unwrap();
    assert_eq!(last_call.age, Duration::from_secs(7));
    assert_eq!(last_call.took, Duration::from_millis(250));
    assert_eq!(last_call.error, Some("auth"));
    breaker.acquire().unwrap().record(None);
    assert_eq!(breaker.snapshot().last_call.unwrap().error, None);
}

#[test]
fn metrics_follow_the_state_also_without_traffic() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let (breaker, clock) = breaker();
        let shows = |line: &str| assert!(metrics.render().contains(line), "{}", metrics.render());
        shows("dealix_breaker_state{breaker=\"moyasar\"} 0");
        fail(&breaker, 5);
        shows("dealix_breaker_state{breaker=\"moyasar\"} 2");
        shows("dealix_breaker_transitions_total{breaker=\"moyasar\",to=\"open\"} 1");
        assert!(breaker.acquire().is_err() && breaker.acquire().is_err());
        shows("dealix_breaker_rejected_total{breaker=\"moyasar\"} 2");
        clock.advance(Duration::from_mins(1));
        assert_eq!(breaker.snapshot().state, State::HalfOpen);
        shows("dealix_breaker_state{breaker=\"moyasar\"} 1");
        breaker.acquire().unwrap().record(None);
        shows("dealix_breaker_state{breaker=\"moyasar\"} 0");
        shows("dealix_breaker_transitions_total{breaker=\"moyasar\",to=\"closed\"} 1");
    });
}
