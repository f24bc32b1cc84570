//! What a dead-letter queue costs from a thousand entries to a million: every look of an operator, a redrive
//! of a hundred thousand, the memory. On a Redis of its own. Started by `script/bench --dlq`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::float_arithmetic,
    reason = "it talks to a person, and measures"
)]

mod bed;
mod clients;
mod fill;
#[path = "../machine.rs"]
mod machine;
mod operations;
mod redrive;
mod report;
mod rewrite;

use std::process::ExitCode;

use crate::bed::Bed;
use crate::operations::{Operation, Timing};
use crate::redrive::Redrive;
use crate::report::{Report, Size};

/// How many entries the queue has when something is measured.
const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(report) if report.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<Report> {
    let mut bed = Bed::start().await?;
    let mut sizes: Vec<Size> = Vec::new();
    for entries in SIZES {
        let filled = fill::fill(&mut bed, entries).await?;
        bed.settle_down().await?;
        let bytes_per_entry = bed.used_bytes_since_start().await? / entries;
        let mut timings: Vec<Timing> = Vec::new();
        for operation in Operation::ALL {
            let timing = operations::measure(&mut bed, operation).await?;
            eprintln!("bench: {entries} entries: {timing}");
            timings.push(timing);
        }
        let pushes_per_s = filled.pushes_per_s;
        sizes.push(Size { entries, bytes_per_entry, pushes_per_s, timings });
    }
    let rewrite = rewrite::measure(&mut bed).await?;
    let redrive: Redrive = redrive::measure(&mut bed).await?;
    let report = Report::new(sizes, rewrite, redrive, bed.letter_bytes);
    report.keep()?;
    let is_json = std::env::args().any(|argument| argument == "--json");
    println!("{}", if is_json { report.json()? } else { report.markdown() });
    Ok(report)
}
