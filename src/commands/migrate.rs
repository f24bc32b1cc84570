//! `migrate`: brings a database to what this binary needs, or one step back.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Exit, Output};
use crate::config::Loaded;
use crate::db;
use crate::migrations::{Failure, MIGRATIONS, Name, Runner, Status};

/// Apply, take back or list the migrations of the database.
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(subcommand)]
    command: Direction,
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Apply what is pending, oldest first.
    ///
    /// Safe to run at any time and by several processes at once: one of them migrates, the others
    /// wait up to 30 s. A statement that cannot get its lock within 5 s gives up and is rolled back.
    #[command(
        after_long_help = "Example:\n  dealix-api migrate up   before the new release serves"
    )]
    Up,
    /// Take back the newest migration.
    ///
    /// Data that only the newer schema can hold is lost. Migrations of a newer release are taken
    /// back by the binary of that release.
    #[command(after_long_help = "\
Examples:
  dealix-api migrate down                                    one step
  dealix-api migrate down --steps 3 --yes-i-have-approval    more than one needs a decision")]
    Down {
        /// How many migrations to take back, newest first.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        steps: u16,
        /// Somebody who may decide it has agreed to take back more than one.
        #[arg(long)]
        yes_i_have_approval: bool,
    },
    /// List what is applied, what is pending, and what this binary does not know.
    ///
    /// Writes nothing. Exit code 1 if an applied migration was edited afterwards.
    #[command(after_long_help = "Example:\n  dealix-api migrate status --json | jq .pending")]
    Status,
}

impl Migrate {
    pub(super) async fn run(self, loaded: &Loaded, out: &mut Output) -> anyhow::Result<Exit> {
        if let Direction::Down { steps: 2.., yes_i_have_approval: false } = self.command {
            out.complain("error: more than one step back needs --yes-i-have-approval")?;
            return Ok(Exit::Failed);
        }
        let options = db::pool::connect_options(&loaded.config.database.url)?;
        let mut runner = Runner::connect(options, &MIGRATIONS).await?;
        let exit = match self.command {
            Direction::Up => {
                let mut done = Vec::new();
                let end = runner.up(|name| done.push(name.clone())).await;
                say_done("applied", &done, end, out)?
            }
            Direction::Down { steps, .. } => {
                let mut done = Vec::new();
                let end = runner.down(steps.into(), |name| done.push(name.clone())).await;
                say_done("taken back", &done, end, out)?
            }
            Direction::Status => say_status(&runner.status().await?, out)?,
        };
        runner.close().await?;
        Ok(exit)
    }
}

/// Says what is done, also when a later one failed.
fn say_done(
    what: &str,
    names: &[Name],
    end: Result<(), Failure>,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    if out.json {
        let key = what.replace(' ', "_");
        out.say_json(&json!({ key: as_json(names) }))?;
    } else {
        for name in names {
            out.say(&format!("{what}  {name}"))?;
        }
        if names.is_empty() && end.is_ok() {
            out.say(&format!("nothing to be {what}"))?;
        }
    }
    end?;
    Ok(Exit::Done)
}

fn say_status(status: &Status, out: &mut Output) -> anyhow::Result<Exit> {
    let Status { applied, pending, unknown, changed } = status;
    if out.json {
        out.say_json(&json!({
            "applied": as_json(applied),
            "pending": as_json(pending),
            "unknown": as_json(unknown),
            "changed": as_json(changed),
        }))?;
    } else {
        let lists = [
            ("applied", applied),
            ("changed", changed),
            ("pending", pending),
            ("unknown", unknown),
        ];
        for (what, names) in lists {
            for name in names {
                out.say(&format!("{what}  {name}"))?;
            }
        }
        let [applied, pending, unknown] = [applied, pending, unknown].map(Vec::len);
        out.say(&format!(
            "{applied} applied, {pending} pending, {unknown} unknown to this binary"
        ))?;
    }
    Ok(if changed.is_empty() { Exit::Done } else { Exit::Failed })
}

fn as_json(names: &[Name]) -> Vec<Value> {
    let json = |name: &Name| json!({"version": name.version, "description": name.description});
    names.iter().map(json).collect()
}
