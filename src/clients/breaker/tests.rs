//! The breaker as its callers, operators and whoever watches it see it.

use std::io;

use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::StatusCode;

use super::*;
use crate::domain::breaker::Force;

const RULES: BreakerConfig = BreakerConfig {
    consecutive_failures: 5,
    window_secs: 60,
    window_calls: 0,
    minimum_calls: 10,
    failure_percent: 50,
    slow_percent: 80,
    slow_call_ms: 5_000,
    cooldown_secs: 60,
    max_cooldown_secs: 300,
    probe_lease_secs: 30,
};

pub(super) fn breaker() -> (Breaker, Clock) {
    let clock = Clock::held("2026-11-20T09:00:00Z".parse().unwrap());
    (Breaker::new("moyasar", RULES, clock.clone(), false), clock)
}

pub(super) fn half_open() -> (Breaker, Clock) {
    let (breaker, clock) = breaker();
    fail(&breaker, 5);
    clock.advance(Duration::from_mins(1));
    (breaker, clock)
}

pub(super) fn status(status: StatusCode) -> ClientError {
    ClientError::Status { client: "moyasar", status, retry_after: None }
}

pub(super) fn fail(breaker: &Breaker, times: u32) {
    for _ in 0..times {
        breaker.acquire().unwrap().record(Some(&status(StatusCode::BAD_GATEWAY)));
    }
}

pub(super) async fn answer(breaker: &Breaker, with: StatusCode) -> Result<(), ClientError> {
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
async fn dropped_calls_of_a_closed_breaker_count_as_never_made() {
    let (breaker, _) = breaker();
    for _ in 0..20 {
        drop(breaker.acquire().unwrap());
    }
    assert_eq!(breaker.snapshot().window, Tally::default());
    assert_eq!(breaker.snapshot().last_call, None);
}

#[tokio::test]
async fn a_call_that_may_not_be_a_probe_is_made_only_while_it_is_closed() {
    let (breaker, clock) = breaker();
    let uncounted = async || breaker.call_uncounted(async { Ok("called") }).await;
    let waits_for = |called: Result<_, _>| match called {
        Err(ClientError::BreakerOpen { client: "moyasar", retry_after }) => retry_after.as_secs(),
        other => panic!("{other:?}"),
    };
    assert!(breaker.refusal().is_none());
    assert_eq!(uncounted().await.unwrap(), "called");
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(18));
    assert_eq!(waits_for(uncounted().await), 42);
    clock.advance(Duration::from_secs(42));
    assert_eq!(waits_for(uncounted().await), 0, "half open");
    // It was no probe, and it is no answer of one.
    answer(&breaker, StatusCode::OK).await.unwrap();
    let outage = async { Err::<(), _>(status(StatusCode::BAD_GATEWAY)) };
    assert!(breaker.call_uncounted(outage).await.is_err());
    assert_eq!(breaker.snapshot().failure_count, 0);
    assert_eq!(uncounted().await.unwrap(), "called");
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

fn forced(to: Force, until: &str) -> Forced {
    Forced { to, until: time(until) }
}

#[test]
fn people_see_that_it_is_held_and_until_when() {
    let (breaker, clock) = breaker();
    clock.advance(Duration::from_secs(10));
    let open = forced(Force::Open, "2026-11-20T09:30:00Z");
    breaker.follow(&Orders::default().force(open));
    let held = breaker.snapshot();
    assert_eq!((held.state, held.forced), (State::Open, Some(open)));
    assert_eq!(held.opened_at, Some(time("2026-11-20T09:00:10Z")));
    assert_eq!(held.retry_at, Some(open.until));
    let rejected = breaker.acquire().map(drop).unwrap_err();
    assert_eq!(rejected.retry_after(), Some(Duration::from_mins(1)));

    clock.advance(Duration::from_mins(30));
    let own = breaker.snapshot();
    assert_eq!((own.state, own.forced), (State::Closed, None));
    assert_eq!((own.opened_at, own.retry_at), (None, None));
    let last = own.transitions.last().unwrap();
    assert_eq!((last.at, last.cause), (open.until, Cause::OverrideEnded));
}

#[test]
fn when_it_tries_again_is_right_also_after_it_was_held_closed_for_a_while() {
    let (breaker, clock) = breaker();
    fail(&breaker, 5);
    clock.advance(Duration::from_secs(5));
    let closed = forced(Force::Closed, "2026-11-20T09:00:25Z");
    breaker.follow(&Orders::default().force(closed));
    let held = breaker.snapshot();
    assert_eq!((held.state, held.opened_at, held.retry_at), (State::Closed, None, None));
    clock.advance(Duration::from_secs(30));
    let open = breaker.snapshot();
    assert_eq!(open.state, State::Open);
    assert_eq!(open.opened_at, Some(time("2026-11-20T09:00:25Z")), "when it was open again");
    assert_eq!(open.retry_at, Some(time("2026-11-20T09:01:00Z")), "when its own cool-down ends");
}

#[test]
fn an_older_word_never_takes_the_place_of_a_newer_one() {
    let (breaker, _clock) = breaker();
    let open = Orders::default().force(forced(Force::Open, "2026-11-20T10:00:00Z"));
    let closed = open.force(forced(Force::Closed, "2026-11-20T10:00:00Z"));
    breaker.follow(&closed);
    for old in [open, Orders::default()] {
        breaker.follow(&old);
        assert_eq!(breaker.snapshot().forced, closed.forced);
    }
    breaker.follow(&closed);
    assert_eq!(breaker.snapshot().transitions, [], "heard twice, done once");
    breaker.follow(&closed.reset());
    assert_eq!(breaker.snapshot().forced, None);
}

#[test]
fn a_word_that_has_ended_ends_an_older_one_and_does_nothing_else() {
    let (breaker, clock) = breaker();
    let open = Orders::default().force(forced(Force::Open, "2026-11-20T10:00:00Z"));
    breaker.follow(&open);
    clock.advance(Duration::from_secs(1));
    // It lasted a second, which this instance did not see.
    breaker.follow(&open.force(forced(Force::Closed, "2026-11-20T09:00:01Z")));
    assert_eq!((breaker.snapshot().state, breaker.snapshot().forced), (State::Closed, None));

    let (breaker, _clock) = self::breaker();
    breaker.follow(&Orders::default().force(forced(Force::Open, "2026-11-20T08:59:59Z")));
    assert_eq!(breaker.snapshot().transitions, []);
}

#[test]
fn no_word_holds_it_for_more_than_a_day() {
    let (breaker, clock) = breaker();
    breaker.follow(&Orders::default().force(forced(Force::Open, "9999-12-31T23:59:59Z")));
    clock.advance(Duration::from_hours(24) - Duration::from_millis(1));
    assert_eq!(breaker.snapshot().state, State::Open);
    clock.advance(Duration::from_millis(1));
    assert_eq!(breaker.snapshot().state, State::Closed);
}

#[test]
fn a_reset_from_before_it_began_is_none_and_a_later_one_is() {
    let (breaker, _clock) = half_open();
    fail(&breaker, 1);
    let long_ago = Orders::default().reset().reset();
    breaker.follow(&long_ago);
    assert_eq!(breaker.snapshot().state, State::Open);
    breaker.follow(&long_ago.reset());
    assert_eq!(breaker.snapshot().state, State::Closed);
    assert_eq!(breaker.snapshot().failure_count, 0);
    assert_eq!(breaker.snapshot().transitions.last().unwrap().cause, Cause::Reset);
}

#[test]
fn being_held_open_makes_it_forget_nothing_that_it_has_seen() {
    let (breaker, clock) = breaker();
    let open = Orders::default().reset().force(forced(Force::Open, "2026-11-20T10:00:00Z"));
    breaker.follow(&Orders::default().reset());
    fail(&breaker, 3);
    breaker.follow(&open);
    assert_eq!(breaker.snapshot().failure_count, 3);
    clock.advance(Duration::from_hours(1));
    assert_eq!((breaker.snapshot().state, breaker.snapshot().failure_count), (State::Closed, 3));
}

#[test]
fn callers_of_a_closed_one_do_not_wait_for_its_lock() {
    let (breaker, _clock) = breaker();
    let guard = breaker.lock();
    let first = breaker.acquire().unwrap();
    let second = breaker.acquire().unwrap();
    drop(guard);
    drop(first);
    second.record(None);
    assert_eq!(breaker.snapshot().window.calls, 1);
    breaker.follow(&Orders::default().force(forced(Force::Open, "2026-11-20T10:00:00Z")));
    assert!(breaker.acquire().is_err(), "the door is shut with the state");
    breaker.follow(&Orders::default().force(forced(Force::Open, "2026-11-20T10:00:00Z")).reset());
    let guard = breaker.lock();
    let again = breaker.acquire().unwrap();
    drop(guard);
    again.record(None);
}

/// What is logged at `error` while `act` runs.
fn errors_logged(act: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
}

#[test]
fn a_person_is_asked_to_look_once_when_three_probes_in_a_row_have_failed() {
    let (breaker, clock) = breaker();
    let fail_probe = || {
        clock.advance(Duration::from_mins(5));
        fail(&breaker, 1);
    };
    let quiet = errors_logged(|| {
        fail(&breaker, 5);
        fail_probe();
        fail_probe();
    });
    assert_eq!(quiet, "");
    let told = errors_logged(fail_probe);
    assert!(told.contains("The breaker of moyasar stays open: 3 probes in a row"), "{told}");
    assert_eq!(errors_logged(fail_probe), "", "it was said");
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
