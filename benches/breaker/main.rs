//! What a call costs that goes through a circuit breaker: nanoseconds, beside an uncontended lock on the
//! same machine in the same run. Started by `script/bench --breaker`.
//!
//! The breaker is not part of what the library shows, so its modules are built here once more.

#![expect(
    dead_code,
    unused_imports,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::float_arithmetic,
    clippy::unwrap_used,
    clippy::struct_field_names,
    reason = "it talks to a person, measures, and uses little of what it builds"
)]

#[path = "../../src/clients/mod.rs"]
mod clients;
#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../../src/domain/mod.rs"]
mod domain;
#[path = "../machine.rs"]
mod machine;

use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Barrier, Mutex};
use std::thread;

use serde_json::{Value, json};

use crate::clients::ClientError;
use crate::clients::breaker::Breaker;
use crate::clock::Clock;
use crate::config::BreakerConfig;

/// What the closed path may cost.
const PROMISED_NS: f64 = 100.0;
const ROUNDS: usize = 51;
const CALLS: u32 = 20_000;

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

fn breaker() -> Breaker {
    Breaker::new("moyasar", RULES, Clock::default(), false)
}

/// Nanoseconds per turn, the median of the rounds: what else runs on the machine only adds.
fn measure(mut turn: impl FnMut()) -> f64 {
    let clock = Clock::default();
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = clock.monotonic();
            for _ in 0..CALLS {
                turn();
            }
            (clock.monotonic() - began).as_secs_f64() * 1e9 / f64::from(CALLS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap()
}

/// Nanoseconds of the clock on the wall per call, all threads together.
fn measure_threads(threads: u32, turn: impl Fn() + Sync) -> f64 {
    let clock = Clock::default();
    let mut rounds: Vec<f64> = (0..11)
        .map(|_| {
            let start = Barrier::new(threads as usize + 1);
            let began = thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        start.wait();
                        for _ in 0..CALLS {
                            turn();
                        }
                    });
                }
                start.wait();
                clock.monotonic()
            });
            (clock.monotonic() - began).as_secs_f64() * 1e9 / f64::from(CALLS * threads)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(5).copied().unwrap()
}

fn results() -> Vec<(&'static str, f64)> {
    let lock = Mutex::new(0_u64);
    let clock = Clock::default();
    let closed = breaker();
    let call = |breaker: &Breaker| breaker.acquire().unwrap().record(None);
    let open = breaker();
    for _ in 0..5 {
        let failure = ClientError::Unreadable { client: "moyasar", flaw: clients::Flaw::TooLarge };
        open.acquire().unwrap().record(Some(&failure));
    }
    vec![
        ("a lock taken and given back", measure(|| *lock.lock().unwrap() += 1)),
        (
            "a look at the clock",
            measure(|| {
                black_box(clock.monotonic());
            }),
        ),
        ("closed: asked, let through, and told how it went", measure(|| call(&closed))),
        (
            "closed: asked and let through",
            measure(|| std::mem::forget(black_box(closed.acquire()))),
        ),
        ("open: asked and refused", measure(|| drop(black_box(open.acquire())))),
        ("closed, 2 threads at once, per call", measure_threads(2, || call(&closed))),
        ("closed, 8 threads at once, per call", measure_threads(8, || call(&closed))),
    ]
}

fn report(results: &[(&'static str, f64)]) -> (String, Value, bool) {
    let find = |name: &str| results.iter().find(|(what, _)| what.starts_with(name)).unwrap().1;
    let (lock, closed) = (find("a lock"), find("closed: asked, let"));
    let is_kept = closed < PROMISED_NS;
    let mark = if is_kept { "kept" } else { "**BROKEN**" };
    let machine = machine::machine();
    let row = |(what, ns): &(&str, f64)| format!("| {what} | {ns:.1} | {:.1} |\n", ns / lock);
    let rows = results.iter().map(row).collect::<Vec<_>>().concat();
    let page = format!(
        "# What a breaker costs\n\n\
         Written by `script/bench --breaker`: medians of rounds of {CALLS} calls with the real clock.\n\n\
         - Machine: {machine}\n- Build: as it ships (profile `release`)\n\n\
         | | ns | times an uncontended lock |\n|---|---|---|\n{rows}\n\
         - {mark}: a call through a closed breaker costs less than {PROMISED_NS} ns when nobody else calls\n"
    );
    let ns: serde_json::Map<_, _> =
        results.iter().map(|(what, ns)| ((*what).to_owned(), json!(ns))).collect();
    let document =
        json!({ "machine": machine, "ns": ns, "promised_ns": PROMISED_NS, "is_kept": is_kept });
    (page, document, is_kept)
}

fn main() -> ExitCode {
    let (page, document, is_kept) = report(&results());
    let text = format!("{document:#}\n");
    let kept = fs::create_dir_all("docs/bench")
        .and_then(|()| fs::write("docs/bench/breaker.md", &page))
        .and_then(|()| fs::write("docs/bench/breaker.json", &text));
    if let Err(error) = kept {
        eprintln!("bench: {error}");
        return ExitCode::FAILURE;
    }
    print!("{}", if std::env::args().any(|argument| argument == "--json") { text } else { page });
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
