//! Replays entries: a page, everything that waits, or one.

use axum::http::Method;
use clap::Args;
use serde_json::Value;

use super::{InQueue, OfEntry, PATH, Why, page, query, say_as_it_is};
use crate::commands::body::{cell, list, number, text};
use crate::commands::desk::Desk;
use crate::commands::table::Table;
use crate::commands::{Exit, Output};

/// Entries of one step of long work.
const STEP: u64 = 100;

/// What a drain counts, and a rehearsal.
const DRAINED: [&str; 6] = ["processed", "succeeded", "re_queued", "dead", "held", "remaining"];
const REHEARSED: [&str; 6] =
    ["rehearsed", "would_succeed", "would_fail", "superseded", "held", "remaining"];

/// What is shown of one entry.
const ITEM: [&str; 3] = ["ID", "OUTCOME", "ERROR"];
const ITEM_FIELDS: [&str; 3] = ["id", "outcome", "error"];

/// Replay what waits, oldest first, whatever its backoff, also on a paused queue; never the dead.
///
/// Each entry is tried at most once. Exit code 1 if it stopped before its end: after 20 s without --all,
/// because the service stops, or because everything of a step was held (what it needs is away).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api dlq drain webhooks --limit 5
  dealix-api dlq drain webhooks --all --dry-run      what would become of each; nothing is changed
  dealix-api dlq drain webhooks --all --reason 'the provider is back'")]
pub(super) struct Drain {
    #[command(flatten)]
    at: InQueue,
    /// How many, 1 to 100.
    #[arg(long, default_value_t = 10, value_parser = page())]
    limit: u64,
    /// Everything that waits, in steps of 100.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Only say what would happen: nothing stays written, nothing is attempted.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    why: Why,
}

/// Replay one entry, also a dead one. Exit code 1 unless it is done now.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  dealix-api dlq retry webhooks moyasar:EVENT_ID")]
pub(super) struct Retry {
    #[command(flatten)]
    entry: OfEntry,
    #[command(flatten)]
    why: Why,
}

/// What the steps of a drain did together.
#[derive(Default)]
struct Sums {
    counts: [u64; 6],
}

impl Drain {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let names = if self.dry_run { REHEARSED } else { DRAINED };
        let total = if self.all { waiting(self.at, desk).await? } else { 0 };
        let (limit, body) = (if self.all { STEP } else { self.limit }, self.why.body([]));
        let (mut sums, mut cursor) = (Sums::default(), None);
        let stopped = loop {
            let conditions = [
                ("limit", Some(limit.to_string())),
                ("dry_run", self.dry_run.then(|| "true".to_owned())),
                ("cursor", cursor),
            ];
            let path = query(&self.at.path("/drain"), &conditions);
            let said = desk.order(Method::POST, &path, &body).await?;
            let step = Sums::of(&said.value, names);
            sums.add(&step);
            if out.json {
                say_as_it_is(&said, out)?;
            } else {
                items(&said.value, self.all).say(out)?;
            }
            let next = text(&said.value, "next_cursor");
            match text(&said.value, "stopped") {
                "shutdown" => break Some("the service is stopping"),
                "deadline" if !self.all || next.is_empty() => break Some("20 s were over"),
                _ if self.all && step.is_held() => break Some("what they need is away"),
                _ if !self.all || next.is_empty() => break None,
                _ => cursor = Some(next.to_owned()),
            }
            out.show_progress(sums.tried(), total)?;
        };
        if !out.json {
            sums.table(names).say(out)?;
        }
        let Some(why) = stopped else { return Ok(Exit::Done) };
        out.complain(&format!("stopped before the end: {why}"))?;
        Ok(Exit::Failed)
    }
}

impl Sums {
    fn of(answer: &Value, names: [&str; 6]) -> Self {
        Self { counts: names.map(|name| number(answer, name)) }
    }

    fn add(&mut self, step: &Self) {
        let [.., remaining] = step.counts;
        for (sum, count) in self.counts.iter_mut().zip(step.counts) {
            *sum += count;
        }
        let [.., sum] = &mut self.counts;
        *sum = remaining;
    }

    const fn tried(&self) -> u64 {
        let [tried, ..] = self.counts;
        tried
    }

    /// Whether nothing of it could even be tried.
    const fn is_held(&self) -> bool {
        let [tried, _, _, _, held, _] = self.counts;
        tried > 0 && held == tried
    }

    fn table(&self, names: [&'static str; 6]) -> Table<6> {
        let mut table = Table::new(names);
        table.row(self.counts.map(|count| count.to_string()));
        table
    }
}

impl Retry {
    pub async fn run(self, desk: &Desk, out: &mut Output) -> anyhow::Result<Exit> {
        let path = self.entry.path("/retry");
        let said = desk.order(Method::POST, &path, &self.why.body([])).await?;
        if out.json {
            say_as_it_is(&said, out)?;
        } else {
            let mut table = Table::new(ITEM);
            table.row(ITEM_FIELDS.map(|name| cell(&said.value, name)));
            table.say(out)?;
        }
        let is_done = matches!(text(&said.value, "outcome"), "succeeded" | "superseded");
        Ok(if is_done { Exit::Done } else { Exit::Failed })
    }
}

/// How many entries a drain would take now.
async fn waiting(at: InQueue, desk: &Desk) -> anyhow::Result<u64> {
    let said = desk.look(&format!("{PATH}/stats")).await?;
    let of = said.value.get(at.queue.name()).unwrap_or(&Value::Null);
    Ok(number(of, "ready") + number(of, "scheduled"))
}

/// What became of each entry; of long work only those that are not done.
fn items(answer: &Value, is_long: bool) -> Table<3> {
    let mut table = Table::new(ITEM);
    for item in list(answer, "items") {
        let is_done = matches!(text(item, "outcome"), "succeeded" | "superseded" | "would_succeed");
        if !(is_long && is_done) {
            table.row(ITEM_FIELDS.map(|name| cell(item, name)));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_steps_of_a_drain_are_summed_and_what_remains_is_what_the_last_one_saw() {
        let step = |processed: u64, held: u64, remaining: u64| {
            let counts = json!({ "processed": processed, "held": held, "remaining": remaining });
            Sums::of(&counts, DRAINED)
        };
        let mut sums = Sums::default();
        sums.add(&step(100, 1, 150));
        sums.add(&step(50, 50, 100));
        assert_eq!(sums.counts, [150, 0, 0, 0, 51, 100]);
        assert!(step(50, 50, 100).is_held());
        assert!(!step(50, 49, 100).is_held() && !step(0, 0, 0).is_held());
    }

    #[test]
    fn of_long_work_only_what_is_not_done_is_listed() {
        let outcomes = ["succeeded", "superseded", "re_queued", "dead", "held", "would_fail"];
        let items_of = outcomes.map(|outcome| json!({ "id": "a", "outcome": outcome }));
        let answer = json!({ "items": items_of });
        assert_eq!(items(&answer, true).len(), 4);
        assert_eq!(items(&answer, false).len(), 6);
    }
}
