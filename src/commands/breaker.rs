//! `breaker`: what the circuit breakers do, and what an operator wants of them. Speaks to Postgres
//! itself, so it works when no instance answers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::Api;
use super::assembled::assemble;
use super::table::Table;
use super::token::{lifetime, subject};
use super::{Exit, Output};
use crate::config::Loaded;
use crate::db;
use crate::db::breaker_overrides::Override;
use crate::domain::reason::{LONGEST_REASON, is_reason};
use crate::flows::breakers::override_breaker::{Force, OverrideBreaker, OverrideError, Wish, Word};

const PATH: &str = "/api/v1/admin/circuit-breakers";
/// How long a breaker may be held.
const LONGEST: Duration = Duration::from_hours(24);

/// Show the circuit breakers, hold one open or closed for a while, or let one begin anew.
#[derive(Debug, Args)]
pub struct Breaker {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// What each breaker does on the instance of this machine, and what operators said.
    #[command(
        after_long_help = "Example:\n  dealix-api breaker list --json | jq .breakers.moyasar"
    )]
    List,
    /// Call the service no more for a while, whatever the breaker sees.
    #[command(
        after_long_help = "Example:\n  dealix-api breaker open moyasar --ttl 1h --reason 'they asked us to stop'"
    )]
    Open(Hold),
    /// Call the service for a while, whatever the breaker sees.
    #[command(
        after_long_help = "Example:\n  dealix-api breaker close moyasar --ttl 5m --reason 'we look at it together'"
    )]
    Close(Hold),
    /// Close the breaker, end an override, and forget what was seen.
    #[command(after_long_help = "Example:\n  dealix-api breaker reset moyasar")]
    Reset {
        /// The service.
        name: String,
        /// Why; stands in the audit.
        #[arg(long)]
        reason: Option<String>,
        /// Who says so; stands in the audit.
        #[arg(long = "as", default_value = "operator", value_parser = subject)]
        actor: String,
    },
}

#[derive(Debug, Args)]
struct Hold {
    /// The service.
    name: String,
    /// For how long: 90s, 15m, 1h; at most 24h.
    #[arg(long, value_parser = day)]
    ttl: Duration,
    /// Why; stands in the audit.
    #[arg(long)]
    reason: String,
    /// Who says so; stands in the audit.
    #[arg(long = "as", default_value = "operator", value_parser = subject)]
    actor: String,
}

fn day(text: &str) -> Result<Duration, String> {
    let ttl = lifetime(text).ok().filter(|ttl| *ttl <= LONGEST);
    ttl.ok_or_else(|| "a number with s, m or h, at most 24h".to_owned())
}

impl Breaker {
    pub(super) async fn run(self, loaded: &Loaded, out: &mut Output) -> anyhow::Result<Exit> {
        let app = assemble(&loaded.config)?;
        let breakers = &app.state().override_breaker;
        match self.command {
            Action::List => list(loaded, breakers, out).await,
            Action::Open(hold) => hold.run(Force::Open, breakers, out).await,
            Action::Close(hold) => hold.run(Force::Closed, breakers, out).await,
            Action::Reset { name, reason, actor } => {
                say(Wish::Reset, &name, reason.as_deref(), &actor, breakers, out).await
            }
        }
    }
}

impl Hold {
    async fn run(
        self,
        to: Force,
        breakers: &OverrideBreaker,
        out: &mut Output,
    ) -> anyhow::Result<Exit> {
        let Self { name, ttl, reason, actor } = self;
        say(Wish::Force { to, ttl }, &name, Some(&reason), &actor, breakers, out).await
    }
}

/// Says it to Postgres; every instance follows.
async fn say(
    wish: Wish,
    name: &str,
    reason: Option<&str>,
    actor: &str,
    breakers: &OverrideBreaker,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    if reason.is_some_and(|reason| !is_reason(reason)) {
        out.complain(&format!("error: a reason has 1 to {LONGEST_REASON} characters"))?;
        return Ok(Exit::Failed);
    }
    let actor = format!("shell:{actor}");
    let shown = match breakers
        .run(name, Word { wish, reason, actor: &actor, request_id: None })
        .await
    {
        Ok(shown) => shown,
        Err(OverrideError::NotFound) => {
            let known: Vec<_> = breakers.breakers.names().collect();
            out.complain(&format!("error: no breaker {name:?}; there are {}", known.join(", ")))?;
            return Ok(Exit::Failed);
        }
        Err(OverrideError::Storage(error)) => return Err(error.into()),
    };
    let forced = shown.forced.map(|forced| (forced.to.word(), forced.until));
    if out.json {
        let (to, until) = forced.unzip();
        out.say_json(&json!({ "name": name, "forced": to, "forced_until": until }))?;
    } else if let Some((to, until)) = forced {
        out.say(&format!("{name} is held {to} until {}, everywhere within 5 s", short(until)))?;
    } else {
        out.say(&format!("{name} begins anew, everywhere within 5 s"))?;
    }
    Ok(Exit::Done)
}

/// What one breaker does and was told.
#[derive(Debug, Default, Serialize)]
struct Line {
    /// As this machine's instance sees it; none if it does not answer.
    state: Option<String>,
    forced: Option<String>,
    forced_until: Option<DateTime<Utc>>,
    /// Of the last word.
    by: Option<String>,
    reason: Option<String>,
    last_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    breakers: BTreeMap<String, Seen>,
}

#[derive(Debug, Deserialize)]
struct Seen {
    state: String,
    last_error: Option<String>,
}

async fn list(
    loaded: &Loaded,
    breakers: &OverrideBreaker,
    out: &mut Output,
) -> anyhow::Result<Exit> {
    let names =
        breakers.breakers.list().map(|breaker| (breaker.name().to_owned(), Line::default()));
    let mut lines: BTreeMap<_, _> = names.collect();
    let told = db::in_time(db::breaker_overrides::list(&breakers.db)).await;
    let seen = match ask_instance(loaded).await {
        Ok(listed) => listed.breakers,
        Err(error) => {
            out.complain(&format!("What the instance here sees is not known: {error:#}"))?;
            BTreeMap::new()
        }
    };
    if seen.is_empty() {
        // Then Postgres is all there is.
        told.as_ref().map_err(|error| anyhow::anyhow!("and Postgres: {error}"))?;
    }
    for (name, Seen { state, last_error }) in seen {
        let line = lines.entry(name).or_default();
        (line.state, line.last_error) = (Some(state), last_error);
    }
    match told {
        Ok(words) => {
            let now = breakers.clock.now();
            for word in words {
                lines.entry(word.name.clone()).or_default().was_told(word, now);
            }
        }
        Err(error) => out.complain(&format!("What operators said is not known: {error}"))?,
    }
    if out.json {
        out.say_json(&json!({ "breakers": lines }))?;
    } else {
        table(&lines).say(out)?;
    }
    Ok(Exit::Done)
}

impl Line {
    fn was_told(&mut self, word: Override, now: DateTime<Utc>) {
        // Who and why belong to an override that is in force.
        if let Some(forced) = word.orders.forced.filter(|forced| forced.until > now) {
            self.forced = Some(forced.to.word().to_owned());
            self.forced_until = Some(forced.until);
            (self.by, self.reason) = (Some(word.actor), word.reason);
        }
    }
}

/// What the instance that these settings belong to sees.
async fn ask_instance(loaded: &Loaded) -> anyhow::Result<Listed> {
    let api = Api::of(loaded).context("neither JWT_SECRET_KEY nor ADMIN_API_KEYS is set")?;
    Ok(serde_json::from_value(api.get(PATH).await?)?)
}

fn table(lines: &BTreeMap<String, Line>) -> Table<6> {
    let mut table = Table::new(["NAME", "STATE", "HELD", "UNTIL", "BY", "REASON"]);
    for (name, line) in lines {
        let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let until = line.forced_until.map_or_else(|| "-".to_owned(), short);
        let Line { state, forced, by, reason, .. } = line;
        table.row([name.clone(), word(state), word(forced), until, word(by), word(reason)]);
    }
    table
}

fn short(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::breaker::{Forced, Orders};

    #[test]
    fn a_breaker_is_held_for_at_most_a_day() {
        assert_eq!(day("24h"), Ok(LONGEST));
        assert_eq!(day("90s"), Ok(Duration::from_secs(90)));
        assert!(day("25h").is_err() && day("0s").is_err() && day("forever").is_err());
    }

    #[test]
    fn who_and_why_are_shown_of_overrides_in_force_only() {
        let now = "2026-11-20T09:00:00Z".parse().unwrap();
        let word = |until: &str| Override {
            name: "moyasar".to_owned(),
            orders: Orders::default()
                .force(Forced { to: Force::Open, until: until.parse().unwrap() }),
            reason: Some("they asked us to".to_owned()),
            actor: "shell:operator".to_owned(),
            changed_at: now,
        };
        let mut line = Line::default();
        line.was_told(word("2026-11-20T09:00:00Z"), now);
        assert_eq!((&line.forced, &line.by, &line.reason), (&None, &None, &None));
        line.was_told(word("2026-11-20T09:00:01Z"), now);
        assert_eq!(line.forced.as_deref(), Some("open"));
        assert_eq!(line.by.as_deref(), Some("shell:operator"));
    }
}
