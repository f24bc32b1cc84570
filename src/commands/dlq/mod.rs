//! `dlq`: the dead-letter queues. Through the running API; while that is down, on the stores themselves.
//! Here is what the orders share.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::json;

use super::api::{Said, segment};
use super::desk::Desk;
use super::token::subject;
use super::{Exit, Output};
use crate::config::Loaded;
use crate::domain::reason::{LONGEST_REASON, is_reason};
use crate::queue::{Queue, State};

mod change;
mod look;
mod redrive;
mod replay;

const PATH: &str = "/api/v1/admin/dlq";

/// Look at what could not be done, replay it, delete it and have it back.
///
/// Asks the running API; when that is down, works on Postgres and Redis itself and says so. Every order is
/// in the audit before it is carried out. With --json the answers are the API's own; long work prints one
/// line for each of its steps.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api dlq stats                                   how much each queue owes, since when, and why
  dealix-api dlq groups webhooks                         what failed alike, as one
  dealix-api dlq list webhooks --state dead              what only a person can help
  dealix-api dlq show webhooks moyasar:EVENT_ID          one entry, redacted
  dealix-api dlq drain webhooks --all --dry-run          what would become of everything that waits
  dealix-api dlq drain webhooks --all                    replay it
  dealix-api dlq retry webhooks moyasar:EVENT_ID         replay one, also a dead one
  dealix-api dlq redrive start webhooks --state dead     replay all of them in the background")]
pub struct Dlq {
    /// Who says so; stands in the audit.
    #[arg(long = "as", global = true, default_value = "operator", value_parser = subject)]
    actor: String,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// How many entries each queue has.
    #[command(after_long_help = "Example:\n  dealix-api dlq queues --json | jq .total_depth")]
    Queues,
    /// Every queue at a glance: how much in which state, since when, and what failed last.
    #[command(after_long_help = "Example:\n  dealix-api dlq stats --json | jq .webhooks")]
    Stats,
    List(look::List),
    Show(look::Show),
    Peek(look::Peek),
    Groups(look::Groups),
    Drain(replay::Drain),
    Retry(replay::Retry),
    Redrive(redrive::Redrive),
    Edit(change::Edit),
    Delete(change::Delete),
    Purge(change::Purge),
    Restore(change::Restore),
    Pause(change::Pause),
    Resume(change::Resume),
}

/// A queue.
#[derive(Clone, Copy, Debug, Args)]
struct InQueue {
    /// The queue.
    #[arg(value_parser = queues())]
    queue: Queue,
}

/// An entry of a queue.
#[derive(Debug, Args)]
struct OfEntry {
    #[command(flatten)]
    at: InQueue,
    /// The entry.
    id: String,
}

/// Why.
#[derive(Debug, Args)]
struct Why {
    /// Why; stands in the audit.
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
}

impl Dlq {
    pub(super) async fn run(self, loaded: &Loaded, out: &mut Output) -> anyhow::Result<Exit> {
        let desk = Desk::open(&self.actor, loaded, out).await?;
        match self.command {
            Action::Queues => look::queues(&desk, out).await,
            Action::Stats => look::stats(&desk, out).await,
            Action::List(order) => order.run(&desk, out).await,
            Action::Show(order) => order.run(&desk, out).await,
            Action::Peek(order) => order.run(&desk, out).await,
            Action::Groups(order) => order.run(&desk, out).await,
            Action::Drain(order) => order.run(&desk, out).await,
            Action::Retry(order) => order.run(&desk, out).await,
            Action::Redrive(order) => order.run(&desk, out).await,
            Action::Edit(order) => order.run(&desk, out).await,
            Action::Delete(order) => order.run(&desk, out).await,
            Action::Purge(order) => order.run(&desk, out).await,
            Action::Restore(order) => order.run(&desk, out).await,
            Action::Pause(order) => order.run(&desk, out).await,
            Action::Resume(order) => order.run(&desk, out).await,
        }
    }
}

impl InQueue {
    /// The path of the queue, and of what is behind it.
    fn path(self, behind: &str) -> String {
        format!("{PATH}/{}{behind}", self.queue.name())
    }
}

impl OfEntry {
    /// The path of the entry, and of what is behind it.
    fn path(&self, behind: &str) -> String {
        self.at.path(&format!("/entries/{}{behind}", segment(&self.id)))
    }
}

impl Why {
    /// The body of an order that may have a reason, and `more`.
    fn body<const MORE: usize>(
        self,
        more: [(&'static str, Option<&str>); MORE],
    ) -> serde_json::Value {
        let reason = [("reason", self.reason.as_deref())];
        let fields = more.into_iter().chain(reason);
        let said = fields.filter_map(|(name, text)| Some((name.to_owned(), json!(text?))));
        serde_json::Value::Object(said.collect())
    }
}

/// A path with the conditions that were given.
fn query(path: &str, conditions: &[(&str, Option<String>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in conditions {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    match query.finish() {
        said if said.is_empty() => path.to_owned(),
        said => format!("{path}?{said}"),
    }
}

/// Says an answer to a machine as it came.
fn say_as_it_is(said: &Said, out: &mut Output) -> anyhow::Result<Exit> {
    out.say(said.text.trim_end())?;
    Ok(Exit::Done)
}

fn queues() -> impl TypedValueParser<Value = Queue> {
    let names = PossibleValuesParser::new(Queue::ALL.map(Queue::name));
    names.try_map(|name| Queue::named(&name).ok_or("no such queue"))
}

/// Some of the states of an entry.
fn states<const NUMBER: usize>(states: [State; NUMBER]) -> PossibleValuesParser {
    PossibleValuesParser::new(states.map(State::name))
}

fn reason(text: &str) -> Result<String, String> {
    is_reason(text)
        .then(|| text.to_owned())
        .ok_or_else(|| format!("1 to {LONGEST_REASON} characters"))
}

/// How many entries of a page.
fn page() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=100)
}

/// A length of time, in whole seconds.
fn seconds(age: Duration) -> String {
    age.as_secs().to_string()
}
