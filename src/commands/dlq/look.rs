//! Looks at the queues and what they hold; only a revealed entry leaves a trace.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{InQueue, OfEntry, PATH, page, query, say_as_it_is, seconds, states};
use crate::commands::api::Said;
use crate::commands::body::{cell, list, moment, number, short, text};
use crate::commands::desk::Desk;
use crate::commands::table::Table;
use crate::commands::token::lifetime;
use crate::commands::{Exit, Output};
use crate::queue::{Queue, State};

/// Characters of an error in a table.
const ERROR: usize = 60;

/// List entries, oldest first, over all of them; every condition counts.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api dlq list webhooks --state dead --limit 100
  dealix-api dlq list webhooks --error unknown_payment --older-than 1h
  dealix-api dlq list analytics --json | jq -r '.entries[].id'")]
pub(super) struct List {
    #[command(flatten)]
    at: InQueue,
    /// How many, 1 to 100.
    #[arg(long, default_value_t = 20, value_parser = page())]
    limit: u64,
    /// Only those in that state.
    #[arg(long, value_parser = states(State::ALL))]
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
    /// Where the page before ended.
    #[arg(long)]
    cursor: Option<String>,
}

/// Show one entry. What it owes is redacted, unless it is to be revealed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api dlq show webhooks moyasar:EVENT_ID
  dealix-api dlq show outbound job:42 --reveal --json | jq .payload")]
pub(super) struct Show {
    #[command(flatten)]
    entry: OfEntry,
    /// Show what it owes as it is; who looked stands in the audit.
    #[arg(long)]
    reveal: bool,
}

/// Show the oldest entries at a glance.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  dealix-api dlq peek webhooks --limit 5")]
pub(super) struct Peek {
    #[command(flatten)]
    at: InQueue,
    /// How many, 1 to 100.
    #[arg(long, default_value_t = 10, value_parser = page())]
    limit: u64,
}

/// Show what failed alike as one, oldest first.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  dealix-api dlq groups webhooks, then dealix-api dlq list webhooks --group FINGERPRINT")]
pub(super) struct Groups {
    #[command(flatten)]
    at: InQueue,
    /// How many, 1 to 100.
    #[arg(long, default_value_t = 50, value_parser = page())]
    limit: u64,
    /// Where the page before ended.
    #[arg(long)]
    cursor: Option<String>,
}

pub(super) async fn queues(desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
    let said = desk.look(&format!("{PATH}/queues")).await?;
    if out.json {
        return say_as_it_is(&said, out);
    }
    let mut table = Table::new(["QUEUE", "DEPTH"]);
    let depths = said.value.get("queues").unwrap_or(&Value::Null);
    for queue in Queue::ALL {
        table.row([queue.name().to_owned(), cell(depths, queue.name())]);
    }
    table.row(["all".to_owned(), cell(&said.value, "total_depth")]);
    table.say(out)?;
    Ok(Exit::Done)
}

pub(super) async fn stats(desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
    let said = desk.look(&format!("{PATH}/stats")).await?;
    if out.json {
        return say_as_it_is(&said, out);
    }
    let headings =
        ["QUEUE", "READY", "SCHEDULED", "IN FLIGHT", "DEAD", "PAUSED", "OLDEST", "LAST ERROR"];
    let mut table = Table::new(headings);
    for queue in Queue::ALL {
        let of = said.value.get(queue.name()).unwrap_or(&Value::Null);
        let [ready, scheduled, in_flight, dead] =
            ["ready", "scheduled", "in_flight", "dead"].map(|name| cell(of, name));
        let paused = if of.get("paused") == Some(&Value::Bool(true)) { "yes" } else { "" };
        let oldest = of.get("oldest_age_s").and_then(Value::as_u64).map(age).unwrap_or_default();
        let error = short(text(of, "last_error"), ERROR);
        let name = queue.name().to_owned();
        table.row([name, ready, scheduled, in_flight, dead, paused.to_owned(), oldest, error]);
    }
    table.say(out)?;
    Ok(Exit::Done)
}

impl List {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let path = query(
            &self.at.path(""),
            &[
                ("limit", Some(self.limit.to_string())),
                ("state", self.state),
                ("error", self.error),
                ("source", self.source),
                ("group", self.group),
                ("request_id", self.request_id),
                ("older_than_s", self.older_than.map(seconds)),
                ("cursor", self.cursor),
            ],
        );
        let said = desk.look(&path).await?;
        if out.json {
            return say_as_it_is(&said, out);
        }
        let mut table = Table::new(["ID", "STATE", "CLASS", "ATTEMPTS", "CAME", "DUE", "ERROR"]);
        for entry in list(&said.value, "entries") {
            let [id, state, class] = ["id", "state", "error_class"].map(|name| cell(entry, name));
            let attempts = format!("{}/{}", cell(entry, "attempt"), cell(entry, "max_retries"));
            let [came, due] = ["created_at", "next_attempt_at"].map(|name| moment(entry, name));
            let error = short(text(entry, "error"), ERROR);
            table.row([id, state, class, attempts, came, due, error]);
        }
        say_page(&table, &said, out)
    }
}

impl Peek {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let limit = [("n", Some(self.limit.to_string()))];
        let said = desk.look(&query(&self.at.path("/peek"), &limit)).await?;
        if out.json {
            return say_as_it_is(&said, out);
        }
        let mut table = Table::new(["ID", "SOURCE", "ATTEMPTS", "CAME", "OWES", "ERROR"]);
        for entry in list(&said.value, "items") {
            let [id, source, attempts] = ["id", "source", "attempts"].map(|name| cell(entry, name));
            let keys: Vec<_> =
                list(entry, "payload_keys").iter().filter_map(Value::as_str).collect();
            let error = short(text(entry, "error"), ERROR);
            let came = moment(entry, "first_seen_at");
            table.row([id, source, attempts, came, short(&keys.join(","), ERROR), error]);
        }
        table.say(out)?;
        let [returned, depth] = ["returned", "depth"].map(|name| number(&said.value, name));
        out.say(&format!("{returned} of {depth} entries"))?;
        Ok(Exit::Done)
    }
}

impl Groups {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let which = [("limit", Some(self.limit.to_string())), ("cursor", self.cursor)];
        let said = desk.look(&query(&self.at.path("/groups"), &which)).await?;
        if out.json {
            return say_as_it_is(&said, out);
        }
        let headings = ["GROUP", "COUNT", "CLASS", "FIRST SEEN", "LAST SEEN", "RELEASE", "ERROR"];
        let mut table = Table::new(headings);
        for group in list(&said.value, "groups") {
            let [fingerprint, count, class, release] =
                ["fingerprint", "count", "error_class", "first_release"]
                    .map(|name| cell(group, name));
            let [first, last] =
                ["first_seen_at", "last_seen_at"].map(|name| to_the_second(text(group, name)));
            let error = short(text(group, "sample_error"), ERROR);
            table.row([fingerprint, count, class, first, last, release, error]);
        }
        say_page(&table, &said, out)
    }
}

/// What an entry owes, as it was written.
#[derive(Deserialize)]
struct Owed<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Show {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let reveal = [("reveal", self.reveal.then(|| "true".to_owned()))];
        let said = desk.look(&query(&self.entry.path(""), &reveal)).await?;
        if out.json {
            return say_as_it_is(&said, out);
        }
        let entry = &said.value;
        let mut table = Table::new(["WHAT", ""]);
        for name in ["id", "queue", "source", "state", "kind", "error_class", "error", "attempt"] {
            table.row([name.to_owned(), cell(entry, name)]);
        }
        for name in ["created_at", "last_attempt_at", "next_attempt_at", "lease_until"] {
            if entry.get(name).is_some() {
                table.row([name.to_owned(), moment(entry, name)]);
            }
        }
        for name in ["request_id", "group", "deaths", "is_edited", "is_redacted"] {
            table.row([name.to_owned(), cell(entry, name)]);
        }
        table.say(out)?;
        let owed: Owed<'_> = serde_json::from_str(&said.text)?;
        let payload = owed.payload.get().lines().map(|line| line.replace(char::is_control, " "));
        for line in payload {
            out.say(&line)?;
        }
        Ok(Exit::Done)
    }
}

/// A page, and how to see the next one.
fn say_page<const COLUMNS: usize>(
    table: &Table<COLUMNS>,
    said: &Said,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    table.say(out)?;
    match text(&said.value, "next_cursor") {
        "" => (),
        next => out.complain(&format!("There may be more: --cursor {next}"))?,
    }
    Ok(Exit::Done)
}

/// A length of time with the two units that matter.
fn age(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, minutes) => format!("{minutes}m {rest}s"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_the_two_units_that_matter() {
        for (seconds, shown) in
            [(0, "0s"), (61, "1m 1s"), (3_600, "1h 0m"), (90_061, "1d 1h"), (900_000, "10d 10h")]
        {
            assert_eq!(age(seconds), shown);
        }
    }

    #[test]
    fn a_time_is_shown_to_the_second() {
        assert_eq!(to_the_second("2026-01-02T03:04:05.123456Z"), "2026-01-02T03:04:05Z");
        assert_eq!(to_the_second("2026-01-02T03:04:05Z"), "2026-01-02T03:04:05Z");
    }
}
