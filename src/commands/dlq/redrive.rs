//! Redrives: everything of a queue that matches now, replayed in the background, and watched from here.

use std::time::Duration;

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{InQueue, Why, reason, say_as_it_is, states};
use crate::commands::api::{Said, segment};
use crate::commands::body::{cell, list, number, text};
use crate::commands::desk::Desk;
use crate::commands::table::Table;
use crate::commands::token::lifetime;
use crate::commands::{Exit, Output};
use crate::queue::State;

/// How often somebody who follows looks.
const LOOK: Duration = Duration::from_secs(1);

/// What is shown of a redrive.
const COLUMNS: [&str; 7] = ["ID", "STATUS", "MATCHED", "SUCCEEDED", "FAILED", "HELD", "REMAINING"];
const FIELDS: [&str; 7] = ["id", "status", "matched", "succeeded", "failed", "held", "remaining"];

/// Replay in the background what matches at this moment, the dead included; and watch it.
///
/// The running service does it, one of a queue at a time; while none runs, whoever follows it here. It
/// survives restarts, and stops by itself when the breaker of what the entries need opens, or too many
/// fail again.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api dlq redrive start webhooks --state dead --one-first --follow
  dealix-api dlq redrive start analytics --group FINGERPRINT --rate 25
  dealix-api dlq redrive list webhooks
  dealix-api dlq redrive pause webhooks ID")]
pub(super) struct Redrive {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start one. Every condition counts; without any all that are ready, scheduled or dead.
    Start(Box<Start>),
    /// The last ones of a queue, newest first.
    List(InQueue),
    /// How far one has come.
    Show(Show),
    /// Let one rest.
    Pause(Word),
    /// Let one go on that rests, or that stopped by itself.
    Resume(Word),
    /// Cancel one. What is done stays done.
    Cancel(Word),
}

#[derive(Debug, Args)]
struct Start {
    #[command(flatten)]
    at: InQueue,
    /// Only what is in that state when it is its turn.
    #[arg(long, value_parser = states([State::Ready, State::Scheduled, State::Dead]))]
    state: Option<String>,
    /// Only those of that class of failure.
    #[arg(long)]
    error: Option<String>,
    /// Only those of that source.
    #[arg(long)]
    source: Option<String>,
    /// Only those of the group with that fingerprint.
    #[arg(long)]
    group: Option<String>,
    /// Only those that came with that request.
    #[arg(long)]
    request_id: Option<String>,
    /// Only those that came longer ago: 90s, 15m, 1h, 7d.
    #[arg(long, value_parser = lifetime)]
    older_than: Option<Duration>,
    /// How many a second at most.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: Option<u64>,
    /// Stop when more than this share of at least 20 entries is still owed; 50 where nothing is said.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=100))]
    stop_at_failure_percent: Option<u64>,
    /// The first entry has to succeed before any other is tried.
    #[arg(long)]
    one_first: bool,
    /// Why; stands in the audit.
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// Wait for its end. Exit code 1 unless it is complete then.
    #[arg(long)]
    follow: bool,
}

/// A redrive.
#[derive(Debug, Args)]
struct OfRedrive {
    #[command(flatten)]
    at: InQueue,
    /// The redrive.
    id: String,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    of: OfRedrive,
    /// Wait for its end. Exit code 1 unless it is complete then.
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, Args)]
struct Word {
    #[command(flatten)]
    of: OfRedrive,
    #[command(flatten)]
    why: Why,
}

impl Redrive {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        match self.command {
            Action::Start(start) => start.run(desk, out).await,
            Action::List(at) => list_all(at, desk, out).await,
            Action::Show(Show { of, follow: true }) => follow(&of, desk, out).await,
            Action::Show(Show { of, follow: false }) => {
                say(&desk.look(&of.path("")).await?, out)?;
                Ok(Exit::Done)
            }
            Action::Pause(word) => word.say(Method::POST, "/pause", desk, out).await,
            Action::Resume(word) => word.say(Method::POST, "/resume", desk, out).await,
            Action::Cancel(word) => word.say(Method::DELETE, "", desk, out).await,
        }
    }
}

impl Start {
    async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let said = desk.order(Method::POST, &self.at.path("/redrive"), &self.body()).await?;
        let of = OfRedrive { at: self.at, id: text(&said.value, "id").to_owned() };
        if self.follow {
            return follow(&of, desk, out).await;
        }
        say(&said, out)?;
        if desk.is_alone() {
            out.complain("no service runs here: it begins when one does, or with --follow")?;
        }
        Ok(Exit::Done)
    }

    fn body(&self) -> Value {
        let texts = [
            ("state", &self.state),
            ("error", &self.error),
            ("source", &self.source),
            ("group", &self.group),
            ("request_id", &self.request_id),
        ];
        let mut filter: Map<_, _> = texts
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?))))
            .collect();
        filter.extend(self.older_than.map(|age| ("older_than_s".to_owned(), json!(age.as_secs()))));
        let filter = (!filter.is_empty()).then_some(filter);
        let fields = [
            ("filter", filter.map(Value::Object)),
            ("rate_per_s", self.rate.map(Value::from)),
            ("stop_at_failure_percent", self.stop_at_failure_percent.map(Value::from)),
            ("one_first", self.one_first.then_some(Value::Bool(true))),
            ("reason", self.reason.clone().map(Value::from)),
        ];
        let said = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(said.collect())
    }
}

impl OfRedrive {
    /// The path of the redrive, and of what is behind it.
    fn path(&self, behind: &str) -> String {
        self.at.path(&format!("/redrive/{}{behind}", segment(&self.id)))
    }
}

impl Word {
    async fn say(
        self,
        method: Method,
        behind: &str,
        desk: &Desk,
        out: &mut Output,
    ) -> anyhow::Result<Exit> {
        let said = desk.order(method, &self.of.path(behind), &self.why.body([])).await?;
        say(&said, out)?;
        Ok(Exit::Done)
    }
}

async fn list_all(at: InQueue, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
    let said = desk.look(&at.path("/redrive")).await?;
    if out.json {
        return say_as_it_is(&said, out);
    }
    let mut table = Table::new(COLUMNS);
    for redrive in list(&said.value, "redrives") {
        table.row(FIELDS.map(|name| cell(redrive, name)));
    }
    table.say(out)?;
    Ok(Exit::Done)
}

/// Looks until nothing more happens by itself.
async fn follow(of: &OfRedrive, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
    loop {
        let said = desk.look(&of.path("")).await?;
        let (matched, remaining) =
            (number(&said.value, "matched"), number(&said.value, "remaining"));
        let status = text(&said.value, "status");
        if status == "running" {
            out.show_progress(matched.saturating_sub(remaining), matched)?;
            if !desk.redrive().await? {
                tokio::time::sleep(LOOK).await;
            }
            continue;
        }
        say(&said, out)?;
        if status == "completed" {
            return Ok(Exit::Done);
        }
        out.complain(&match (status, text(&said.value, "stopped_because")) {
            (status, "") => format!("it is {status}"),
            (status, why) => format!("it is {status}: {why}"),
        })?;
        return Ok(Exit::Failed);
    }
}

fn say(said: &Said, out: &mut Output) -> anyhow::Result<()> {
    if out.json {
        say_as_it_is(said, out)?;
        return Ok(());
    }
    let mut table = Table::new(COLUMNS);
    table.row(FIELDS.map(|name| cell(&said.value, name)));
    Ok(table.say(out)?)
}
