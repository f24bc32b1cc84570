//! The breaker under ten thousand callers at once: tasks of the runtime and threads of the system.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use reqwest::StatusCode;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::tests::{breaker, fail, half_open, status};
use super::*;

const CALLERS: usize = 10_000;

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
fn of_ten_thousand_callers_on_a_hundred_threads_one_is_the_probe_and_never_more() {
    const THREADS: usize = 100;
    for round in 0..20 {
        let (breaker, clock) = breaker();
        fail(&breaker, 5);
        let start = std::sync::Barrier::new(THREADS);
        let end = std::sync::Barrier::new(THREADS);
        let probes = AtomicUsize::new(0);
        // The cool-down ends while they ask already: who sees that first must not give more than one.
        clock.advance(Duration::from_secs(59));
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (breaker, clock, start, end, probes) =
                    (&breaker, &clock, &start, &end, &probes);
                scope.spawn(move || {
                    start.wait();
                    if number == THREADS / 2 {
                        clock.advance(Duration::from_secs(1));
                    }
                    let asked: Vec<_> =
                        (0..CALLERS / THREADS).map(|_| breaker.acquire().ok()).collect();
                    probes.fetch_add(asked.iter().flatten().count(), Ordering::SeqCst);
                    // Nobody gives his permit back before everybody has asked.
                    end.wait();
                });
            }
        });
        assert_eq!(probes.into_inner(), 1, "round {round}");
        assert_eq!(breaker.snapshot().state, State::HalfOpen);
    }
}

#[test]
fn an_answer_that_opens_it_lets_nobody_through_who_asks_later() {
    for _ in 0..200 {
        let (breaker, _clock) = breaker();
        fail(&breaker, 4);
        let is_open = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        let was_open = is_open.load(Ordering::SeqCst) == 1;
                        let is_let_through = breaker.acquire().is_ok();
                        assert!(!(was_open && is_let_through));
                        if was_open {
                            return;
                        }
                    }
                });
            }
            let last_straw = breaker.acquire().unwrap();
            last_straw.record(Some(&status(StatusCode::BAD_GATEWAY)));
            is_open.store(1, Ordering::SeqCst);
        });
    }
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
