//! What was measured, as tables for people and as JSON, and the machine it was measured on.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::faults::Outcome;
use crate::load::Answers;
use crate::machine::machine;

/// All outcomes of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    build: &'static str,
    outcomes: Vec<Outcome>,
}

impl Report {
    pub fn new(outcomes: Vec<Outcome>) -> Self {
        let build = "release code without link-time optimisation (profile `ci`)";
        Self { machine: machine(), build, outcomes }
    }

    pub fn is_good(&self) -> bool {
        self.outcomes.iter().flat_map(|outcome| &outcome.verdicts).all(|verdict| verdict.is_kept)
    }

    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub fn markdown(&self) -> String {
        let mut page = format!(
            "# Faults, measured\n\n\
             Written by `script/bench --faults`. Webhooks come from the sandbox, in open loop: latency counts from the\n\
             moment at which each was meant to be sent. The fault lasts from the 4th to the 16th of 20 seconds.\n\
             Rate limits are off, because 200 a second are more than one address may send.\n\n\
             - Machine: {}\n- Build: {}\n- Stores: Postgres and Redis of the run alone, as durable as in production\n",
            self.machine, self.build
        );
        for outcome in &self.outcomes {
            let _written =
                write!(page, "\n## {}: {}\n\n{}", outcome.name, outcome.about, table(outcome));
        }
        page
    }

    /// Writes both forms below `stem`.
    pub fn keep(&self, stem: &str) -> anyhow::Result<()> {
        let page = Path::new(stem).with_extension("md");
        fs::create_dir_all(page.parent().context("no folder")?)?;
        fs::write(page, self.markdown())?;
        fs::write(Path::new(stem).with_extension("json"), self.json()? + "\n")?;
        Ok(())
    }
}

/// One outcome as a table and its verdicts.
pub fn table(outcome: &Outcome) -> String {
    let mut text = "| | answers | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|\n".to_owned();
    let mut row = |name: &str, answers: &Answers| {
        let statuses: Vec<_> =
            answers.by_status.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        let Answers { p50_ms, p99_ms, max_ms, .. } = answers;
        let statuses = statuses.join(", ");
        let _written =
            writeln!(text, "| {name} | {statuses} | {p50_ms:.1} | {p99_ms:.1} | {max_ms:.1} |");
    };
    row("webhooks", &outcome.webhooks);
    row("/health", &outcome.health);
    row("/health/deep", &outcome.deep_health);
    if let Some(forged) = &outcome.forged {
        row("forged", forged);
    }
    let memory =
        outcome.peak_mib.map_or_else(|| "unknown".to_owned(), |mib| format!("{mib:.0} MiB"));
    let Outcome { sent, applied, settled_after_s, .. } = outcome;
    let _written = write!(
        text,
        "\n{applied} of {sent} payments applied, the last {settled_after_s:.1} s after the load; most memory {memory}.\n\n"
    );
    for verdict in &outcome.verdicts {
        let mark = if verdict.is_kept { "kept" } else { "**BROKEN**" };
        let _written = writeln!(text, "- {mark}: {}", verdict.promise);
    }
    text
}
