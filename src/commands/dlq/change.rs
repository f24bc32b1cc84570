//! Changes what a queue holds: edits an entry, deletes, has back, stops and starts the automatic replay.

use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::Context;
use axum::http::Method;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{InQueue, OfEntry, PATH, Why, reason, say_as_it_is, states};
use crate::commands::body::{cell, number, text};
use crate::commands::confirm::confirm;
use crate::commands::desk::Desk;
use crate::commands::{Exit, Output};
use crate::queue::State;

/// Change what an entry of outbound or `crm_sync` owes. The first version is kept with it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api dlq show outbound job:42 --reveal --json | jq .payload > job.json
  dealix-api dlq edit outbound job:42 --from job.json --reason 'the number had a typo'
  dealix-api dlq retry outbound job:42")]
pub(super) struct Edit {
    #[command(flatten)]
    entry: OfEntry,
    /// A file with the JSON object that it owes from now on; - reads it from standard input.
    #[arg(long)]
    from: PathBuf,
    /// Why; stands in the audit.
    #[arg(long, value_parser = reason)]
    reason: String,
}

/// Delete one entry. It can be had back for 30 days.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  dealix-api dlq delete webhooks moyasar:EVENT_ID")]
pub(super) struct Delete {
    #[command(flatten)]
    entry: OfEntry,
    #[command(flatten)]
    why: Why,
    /// You mean it: do not ask.
    #[arg(long)]
    yes: bool,
}

/// Delete what a queue holds now, apart from what somebody has in hand. It can be had back for 30 days.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api dlq purge outbound --state dead --reason 'a test that went wrong'
  dealix-api dlq purge outbound --yes       in a script")]
pub(super) struct Purge {
    #[command(flatten)]
    at: InQueue,
    /// Only what is in that state.
    #[arg(long, value_parser = states([State::Ready, State::Scheduled, State::Dead]))]
    state: Option<String>,
    #[command(flatten)]
    why: Why,
    /// You mean it: do not ask.
    #[arg(long)]
    yes: bool,
}

/// Have back what was deleted in the last 30 days: one entry, or all of a queue.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api dlq restore webhooks
  dealix-api dlq restore webhooks moyasar:EVENT_ID")]
pub(super) struct Restore {
    #[command(flatten)]
    at: InQueue,
    /// Only that entry.
    id: Option<String>,
    #[command(flatten)]
    why: Why,
}

/// Stop the automatic replay of a queue. Entries keep coming in, and a drain or a retry works.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  dealix-api dlq pause webhooks --reason 'we mend it'")]
pub(super) struct Pause {
    #[command(flatten)]
    at: InQueue,
    #[command(flatten)]
    why: Why,
}

/// Start the automatic replay of a queue again.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  dealix-api dlq resume webhooks")]
pub(super) struct Resume {
    #[command(flatten)]
    at: InQueue,
    #[command(flatten)]
    why: Why,
}

/// The body of an edit: what is owed stays as it was written.
#[derive(Serialize)]
struct EditBody<'a> {
    payload: &'a RawValue,
    reason: &'a str,
}

impl Edit {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let text = self.read().with_context(|| self.from.display().to_string())?;
        let payload: &RawValue = serde_json::from_str(&text).context("it is not JSON")?;
        let body = serde_json::to_string(&EditBody { payload, reason: &self.reason })?;
        let said = desk.order_in_words(Method::PUT, &self.entry.path(""), body).await?;
        if out.json {
            return say_as_it_is(&said, out);
        }
        out.say(&format!("{} owes something else now", self.entry.id))?;
        Ok(Exit::Done)
    }

    fn read(&self) -> io::Result<String> {
        if self.from.as_os_str() != "-" {
            return std::fs::read_to_string(&self.from);
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Delete {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let (id, queue) = (&self.entry.id, self.entry.at.queue.name());
        if !self.yes && !confirm(&format!("This deletes {id} of {queue}"), queue, out)? {
            return Ok(Exit::Failed);
        }
        let said = desk.order(Method::DELETE, &self.entry.path(""), &self.why.body([])).await?;
        if out.json {
            return say_as_it_is(&said, out);
        }
        let until = text(&said.value, "undo_until");
        out.say(&format!("{id} is deleted; until {until} `dlq restore {queue} {id}` has it back"))?;
        Ok(Exit::Done)
    }
}

impl Purge {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let (queue, state) = (self.at.queue.name(), self.state.as_deref());
        let there = there(self.at, state, desk).await?;
        let kind = state.map(|state| format!(" {state}")).unwrap_or_default();
        let what = format!("This deletes{kind} entries of {queue}, {there} now");
        if !self.yes && !confirm(&what, queue, out)? {
            return Ok(Exit::Failed);
        }
        let body = self.why.body([("state", state)]);
        let mut purged = 0;
        loop {
            let said = desk.order(Method::POST, &self.at.path("/purge"), &body).await?;
            purged += number(&said.value, "purged");
            if out.json {
                say_as_it_is(&said, out)?;
            }
            match text(&said.value, "stopped") {
                "" if out.json => return Ok(Exit::Done),
                "" => {
                    let until = text(&said.value, "undo_until");
                    out.say(&format!(
                        "{purged} entries are deleted; until {until} `dlq restore {queue}` has them back"
                    ))?;
                    return Ok(Exit::Done);
                }
                "deadline" => out.show_progress(purged, there)?,
                why => anyhow::bail!("{why}: {purged} are deleted, and there are more"),
            }
        }
    }
}

/// How many entries a purge would find.
async fn there(at: InQueue, state: Option<&str>, desk: &Desk) -> anyhow::Result<u64> {
    let said = desk.look(&format!("{PATH}/stats")).await?;
    let of = said.value.get(at.queue.name()).unwrap_or(&Value::Null);
    let all = ["ready", "scheduled", "dead"].into_iter();
    let counted = all.filter(|name| state.is_none_or(|state| state == *name));
    Ok(counted.map(|name| number(of, name)).sum())
}

impl Restore {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let body = self.why.body([("id", self.id.as_deref())]);
        let said = desk.order(Method::POST, &self.at.path("/restore"), &body).await?;
        if out.json {
            return say_as_it_is(&said, out);
        }
        out.say(&format!("{} entries are there again", cell(&said.value, "restored")))?;
        Ok(Exit::Done)
    }
}

impl Pause {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let said = desk.order(Method::POST, &self.at.path("/pause"), &self.why.body([])).await?;
        if out.json {
            return say_as_it_is(&said, out);
        }
        let queue = self.at.queue.name();
        out.say(&format!("{queue} is not replayed by itself until `dlq resume {queue}`"))?;
        Ok(Exit::Done)
    }
}

impl Resume {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let said = desk.order(Method::POST, &self.at.path("/resume"), &self.why.body([])).await?;
        if out.json {
            return say_as_it_is(&said, out);
        }
        out.say(&format!("{} is replayed by itself again", self.at.queue.name()))?;
        Ok(Exit::Done)
    }
}
