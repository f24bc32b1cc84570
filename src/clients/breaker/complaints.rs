//! What users of other breakers have complained about, each with the opposite outcome. The numbers are
//! those of the threads at github.com/resilience4j/resilience4j/issues.

use std::panic::AssertUnwindSafe;
use std::pin::pin;

use futures_util::FutureExt;
use reqwest::StatusCode;

use super::tests::{answer, breaker, fail, half_open, status};
use super::*;

/// 1389: stuck half open, because the future of a permitted call was dropped.
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

/// 903 and 935: stuck half open, because a permitted call never reported.
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

/// 903, too: fewer answers than the minimum of calls, and so no decision ever.
#[tokio::test]
async fn one_answer_of_the_probe_decides_however_many_calls_a_rate_needs() {
    for (with, state) in
        [(StatusCode::OK, State::Closed), (StatusCode::SERVICE_UNAVAILABLE, State::Open)]
    {
        let (breaker, _clock) = half_open();
        let _answer = answer(&breaker, with).await;
        assert_eq!(breaker.snapshot().state, state);
    }
}

/// 1432: whoever sees the end of the cool-down is let through beside the configured probes.
#[test]
fn whoever_ends_the_cooldown_is_one_of_the_probes_and_not_one_more() {
    let (breaker, clock) = breaker();
    fail(&breaker, 5);
    clock.advance(Duration::from_mins(1));
    let permits: Vec<_> = (0..10).map(|_| breaker.acquire().ok()).collect();
    assert_eq!(permits.iter().flatten().count(), 1);
    assert!(permits.first().unwrap().is_some(), "and it is whoever came first");
}

/// 343: half open, it lets everything through.
#[test]
fn half_open_it_lets_one_call_through_and_the_next_only_after_that_has_ended() {
    let (breaker, _clock) = half_open();
    let first = breaker.acquire().unwrap();
    assert!(breaker.acquire().is_err() && breaker.acquire().is_err());
    drop(first);
    let second = breaker.acquire().unwrap();
    assert!(breaker.acquire().is_err());
    second.record(None);
    assert!(breaker.acquire().is_ok() && breaker.acquire().is_ok());
}

/// 612 and 858: looking at it runs its logic, and takes the permit that a caller needs.
#[test]
fn looking_at_it_neither_takes_the_probe_nor_gives_it_back() {
    let (breaker, _clock) = half_open();
    let looks = || (0..1_000).all(|_| breaker.snapshot().state == State::HalfOpen);
    assert!(looks());
    let probe = breaker.acquire().unwrap();
    assert!(looks());
    assert!(breaker.acquire().is_err());
    probe.record(None);
    assert_eq!(breaker.snapshot().window, Tally::default());
}

/// Late answers of calls from before it opened close it, or count as failed probes.
#[test]
fn an_answer_to_a_call_from_before_it_opened_is_no_answer_of_the_probe() {
    let (breaker, clock) = breaker();
    let [early, late] = [(); 2].map(|()| breaker.acquire().unwrap());
    fail(&breaker, 5);
    clock.advance(Duration::from_mins(1));
    let probe = breaker.acquire().unwrap();
    early.record(None);
    assert_eq!(breaker.snapshot().state, State::HalfOpen);
    late.record(Some(&status(StatusCode::BAD_GATEWAY)));
    assert_eq!(breaker.snapshot().state, State::HalfOpen);
    probe.record(None);
    assert_eq!(breaker.snapshot().state, State::Closed);
}
