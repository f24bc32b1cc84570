//! The real binary under load, on stores of its own, with the outside world played by the sandbox.
//! Started by `script/bench`, which says what modes there are.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::float_arithmetic,
    reason = "it talks to a person, and measures"
)]

mod abuse;
mod bed;
mod clients;
mod faults;
mod load;
#[path = "../machine.rs"]
mod machine;
mod report;

use std::process::ExitCode;

use anyhow::Context;

use crate::report::Report;

/// What was asked for on the command line.
struct Request {
    mode: String,
    /// Print JSON instead of the tables.
    is_json: bool,
    /// The one scenario to run; nothing is kept then.
    only: Option<String>,
}

impl Request {
    fn read(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut request = Self { mode: String::new(), is_json: false, only: None };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo says so of its own accord.
                "--bench" => (),
                "--json" => request.is_json = true,
                "--only" => request.only = Some(arguments.next().context("--only whom?")?),
                mode => mode.clone_into(&mut request.mode),
            }
        }
        Ok(request)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells whether every verdict was good.
async fn run() -> anyhow::Result<bool> {
    let request = Request::read(std::env::args().skip(1))?;
    let results = match request.mode.as_str() {
        "--faults" => faults::run(request.only.as_deref()).await?,
        mode => anyhow::bail!("there is no mode {mode:?}; see script/bench --help"),
    };
    let report = Report::new(results);
    if request.only.is_none() {
        report.keep("docs/bench/faults")?;
    }
    if request.is_json {
        println!("{}", report.json()?);
    } else {
        println!("{}", report.markdown());
    }
    Ok(report.is_good())
}
