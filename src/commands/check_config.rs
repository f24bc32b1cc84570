//! `check-config`: what is in force, where it came from, and everything that is wrong with it.

use clap::Args;
use serde_json::{Value, json};

use super::{Exit, Output};
use crate::config::{ConfigProblem, Inspection, Sources, inspect, reference};

/// Show the settings in force, where each came from, and every problem at once.
///
/// Secrets are shown as [redacted]. Connects to nothing. Exit code 1 if anything must be mended.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api check-config                             before every deploy
  APP_ENV=production dealix-api check-config          what production would still miss
  dealix-api check-config --json | jq .problems
  dealix-api check-config --example > .env.example    all variables with their defaults")]
pub struct CheckConfig {
    /// Print .env.example instead: every variable with its default.
    #[arg(long, conflicts_with = "reference")]
    example: bool,
    /// Print docs/configuration.md instead: the same as a page.
    #[arg(long)]
    reference: bool,
}

impl CheckConfig {
    pub(super) fn run(self, sources: &Sources, out: &mut Output) -> anyhow::Result<Exit> {
        if self.example {
            out.print(&reference::env_example())?;
            return Ok(Exit::Done);
        }
        if self.reference {
            out.print(&reference::page())?;
            return Ok(Exit::Done);
        }
        let inspection = inspect(sources);
        if out.json {
            out.say_json(&as_json(&inspection))?;
        } else {
            say(&inspection, out)?;
        }
        Ok(if inspection.problems.is_empty() { Exit::Done } else { Exit::Failed })
    }
}

fn say(inspection: &Inspection, out: &mut Output) -> anyhow::Result<()> {
    let rows: Vec<_> = inspection
        .settings
        .iter()
        .map(|setting| {
            let name = setting.variable().map_or_else(|| setting.key(), |variable| variable.name);
            (name, setting.shown(), setting.origin().to_string())
        })
        .collect();
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or_default();
    let name_width = longest(&mut rows.iter().map(|(name, ..)| name.chars().count()));
    let value_width = longest(&mut rows.iter().map(|(_, value, _)| value.chars().count()));
    for (name, value, origin) in &rows {
        out.say(&format!("{name:name_width$}  {value:value_width$}  {origin}"))?;
    }
    say_list("warning", &inspection.warnings, out)?;
    say_list("problem", &inspection.problems, out)?;
    if inspection.problems.is_empty() {
        let environment = inspection.environment.name();
        out.say(&format!("\nThe configuration can be used ({environment})."))?;
    }
    Ok(())
}

fn say_list(what: &str, list: &[ConfigProblem], out: &mut Output) -> anyhow::Result<()> {
    if !list.is_empty() {
        let plural = if list.len() == 1 { "" } else { "s" };
        out.say(&format!("\n{} {what}{plural}:", list.len()))?;
    }
    for problem in list {
        out.say(&format!("  {problem}"))?;
    }
    Ok(())
}

fn as_json(inspection: &Inspection) -> Value {
    let settings = inspection.settings.iter().map(|setting| {
        json!({
            "name": setting.variable().map(|variable| variable.name),
            "key": setting.key(),
            "value": setting.shown(),
            "from": setting.origin().to_string(),
        })
    });
    let list = |problems: &[ConfigProblem]| -> Vec<Value> {
        let json =
            |problem: &ConfigProblem| json!({"name": problem.name, "detail": problem.detail});
        problems.iter().map(json).collect()
    };
    json!({
        "environment": inspection.environment.name(),
        "settings": settings.collect::<Vec<_>>(),
        "warnings": list(&inspection.warnings),
        "problems": list(&inspection.problems),
    })
}
