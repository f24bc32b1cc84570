//! What was measured, as tables for people and as JSON, and which promises were kept.

use std::fmt::Write;
use std::fs;

use serde::Serialize;

use crate::machine::machine;
use crate::operations::{Operation, Timing};
use crate::redrive::Redrive;
use crate::rewrite::Meanwhile;

/// What a look may take with a million entries, and while the log is rewritten.
const PROMISED_MS: f64 = 10.0;
const PROMISED_MEANWHILE_MS: f64 = 25.0;

/// How many entries a second go through a redrive.
const PROMISED_PER_S: f64 = 5_000.0;

/// How much more than Redis's own benchmark an operation may grow from the smallest to the largest.
const PROMISED_GROWTH: f64 = 1.2;

/// What was measured with so many entries.
#[derive(Debug, Serialize)]
pub struct Size {
    pub entries: u64,
    pub bytes_per_entry: u64,
    pub pushes_per_s: f64,
    pub timings: Vec<Timing>,
}

/// How much more an operation costs in the largest queue than in the smallest.
#[derive(Debug, Serialize)]
struct Growth {
    operation: Operation,
    own: f64,
    redis_benchmark: f64,
}

#[derive(Debug, Serialize)]
struct Verdict {
    promise: String,
    is_kept: bool,
}

#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    build: &'static str,
    letter_bytes: usize,
    sizes: Vec<Size>,
    while_the_log_is_rewritten: Vec<Meanwhile>,
    redrive: Redrive,
    growth: Vec<Growth>,
    verdicts: Vec<Verdict>,
}

impl Report {
    pub fn new(
        sizes: Vec<Size>,
        while_the_log_is_rewritten: Vec<Meanwhile>,
        redrive: Redrive,
        letter_bytes: usize,
    ) -> Self {
        let build = if cfg!(debug_assertions) {
            "not optimised"
        } else {
            "release code without link-time optimisation (profile `ci`)"
        };
        let (growth, verdicts) = (growth(&sizes), Vec::new());
        let mut report = Self {
            machine: machine(),
            build,
            letter_bytes,
            sizes,
            while_the_log_is_rewritten,
            redrive,
            growth,
            verdicts,
        };
        report.verdicts = report.judge();
        report
    }

    pub fn is_good(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.is_kept)
    }

    fn judge(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut judge = |is_kept, promise| verdicts.push(Verdict { promise, is_kept });
        let largest = self.sizes.iter().rev().take(1).flat_map(|size| &size.timings);
        for timing in largest.filter(|timing| timing.operation.is_look()) {
            let name = timing.operation.name();
            judge(timing.p99_ms < PROMISED_MS, format!("{name}: p99 under {PROMISED_MS} ms"));
        }
        for it in self.while_the_log_is_rewritten.iter().filter(|it| it.operation.is_look()) {
            let name = it.operation.name();
            let promise =
                format!("{name}: p99 under {PROMISED_MEANWHILE_MS} ms while the log is rewritten");
            judge(it.p99_ms < PROMISED_MEANWHILE_MS, promise);
        }
        for Growth { operation, own, redis_benchmark } in &self.growth {
            let promise = format!(
                "{}: grows at most 20 % more than in Redis's own benchmark ({own:.2} and {redis_benchmark:.2} times)",
                operation.name()
            );
            // What seems to get cheaper the more there is does not grow; the clock is that coarse.
            judge(*own <= PROMISED_GROWTH * redis_benchmark.max(1.0), promise);
        }
        let Redrive { entries, per_s } = self.redrive;
        let promise = format!("a redrive of {entries} entries does at least {PROMISED_PER_S}/s");
        judge(per_s >= PROMISED_PER_S, promise);
        verdicts
    }

    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Writes both forms.
    pub fn keep(&self) -> anyhow::Result<()> {
        fs::create_dir_all("docs/bench")?;
        fs::write("docs/bench/dlq.md", self.markdown())?;
        fs::write("docs/bench/dlq.json", self.json()? + "\n")?;
        Ok(())
    }

    pub fn markdown(&self) -> String {
        let Self { machine, build, letter_bytes, .. } = self;
        let mut page = format!(
            "# What a dead-letter queue costs\n\n\
             Written by `script/bench --dlq`. Entries enter by the service's own push, each durable before it counts\n\
             (`appendfsync always`): three of twenty dead, five scheduled, the others ready; ten classes of errors, fifty\n\
             groups. All is asked as the service asks, over its two connections, one call after the other.\n\n\
             - Machine: {machine}\n- Build: {build}\n- An entry as written: {letter_bytes} bytes\n\n\
             | entries | bytes per entry in Redis, indexes included | pushes/s, 128 at once |\n|---|---|---|\n"
        );
        for Size { entries, bytes_per_entry, pushes_per_s, .. } in &self.sizes {
            let _written = writeln!(page, "| {entries} | {bytes_per_entry} | {pushes_per_s:.0} |");
        }
        self.write_timings(&mut page);
        self.write_growth(&mut page);
        let Redrive { entries, per_s } = &self.redrive;
        let _written = write!(
            page,
            "\n## Redrive\n\n{entries} of the million entries, all of one class of errors, through the service's own runner and a handler that\nhas nothing to do: {per_s:.0}/s.\n\n## Promises\n\n"
        );
        for Verdict { promise, is_kept } in &self.verdicts {
            let mark = if *is_kept { "kept" } else { "**BROKEN**" };
            let _written = writeln!(page, "- {mark}: {promise}");
        }
        page
    }

    fn write_timings(&self, page: &mut String) {
        let head = "\n## How long it takes\n\n| | entries | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|\n";
        page.push_str(head);
        for (at, operation) in Operation::ALL.into_iter().enumerate() {
            for Size { entries, timings, .. } in &self.sizes {
                let Some(Timing { p50_ms, p99_ms, max_ms, .. }) = timings.get(at) else { continue };
                let name = operation.name();
                let _written = writeln!(
                    page,
                    "| {name} | {entries} | {p50_ms:.3} | {p99_ms:.3} | {max_ms:.1} |"
                );
            }
            let Some(it) = self.while_the_log_is_rewritten.get(at) else { continue };
            let _written = writeln!(
                page,
                "| {}, while the log is rewritten | {} | {:.3} | {:.3} | {:.1} |",
                operation.name(),
                self.sizes.last().map_or(0, |size| size.entries),
                it.p50_ms,
                it.p99_ms,
                it.max_ms
            );
        }
    }

    fn write_growth(&self, page: &mut String) {
        let head = "\n## How it grows\n\nThe same thing at the same place, in milliseconds: the service's own calls, and `redis-benchmark -c 1`\n\
             with the same script and the same arguments. Of twenty-five rounds of 400 calls the best one counts.\n\n\
             | | entries | the service | redis-benchmark |\n|---|---|---|---|\n";
        page.push_str(head);
        for (at, operation) in Operation::ALL.into_iter().enumerate() {
            for Size { entries, timings, .. } in &self.sizes {
                let Some(timing) = timings.get(at) else { continue };
                let (own, other, name) =
                    (timing.own_ms, timing.redis_benchmark_ms, operation.name());
                let _written = writeln!(page, "| {name} | {entries} | {own:.3} | {other:.3} |");
            }
        }
    }
}

fn growth(sizes: &[Size]) -> Vec<Growth> {
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else { return Vec::new() };
    let pairs = first.timings.iter().zip(&last.timings);
    pairs
        .map(|(small, large)| Growth {
            operation: small.operation,
            own: large.own_ms / small.own_ms,
            redis_benchmark: large.redis_benchmark_ms / small.redis_benchmark_ms,
        })
        .collect()
}
