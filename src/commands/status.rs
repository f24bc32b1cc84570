//! `status`: the one screen, from the running API, or from the stores themselves while it is down.

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::api::{Api, NO_KEY, Unanswered};
use super::assembled::assemble;
use super::body::{cell, text};
use super::table::Table;
use super::{Exit, Output};
use crate::config::Loaded;
use crate::domain::checkout::Locale;
use crate::domain::status::report;
use crate::flows::health::show_status::Asked;

/// Show what is wrong, worst first, since when, how much money it holds up, and what to do next.
///
/// Asks the running API; when it is down, asks the stores itself and says so. Exit code 0: all is well;
/// 1: something is wrong; 2: it cannot be told.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api status
  dealix-api status --lang ar
  dealix-api status --json | jq -r .next_command")]
pub struct Status {
    /// The language of the messages.
    #[arg(long, value_enum, default_value = "en")]
    lang: Lang,
}

/// The language of what people read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Lang {
    Ar,
    En,
}

impl Lang {
    /// The tag in `Accept-Language`, and what the names of texts end with.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Ar => "ar",
            Self::En => "en",
        }
    }

    /// The same, as the rest of the house knows it.
    pub const fn locale(self) -> Locale {
        match self {
            Self::Ar => Locale::Ar,
            Self::En => Locale::En,
        }
    }
}

impl Status {
    pub(super) async fn run(self, loaded: &Loaded, out: &mut Output) -> anyhow::Result<Exit> {
        let Some(api) = Api::of(loaded) else {
            out.complain(NO_KEY)?;
            return Ok(Exit::CannotTell);
        };
        let report = match api.get("/api/v1/admin/status").await {
            Ok(report) => report,
            Err(Unanswered::Down { .. }) => {
                let app = assemble(&loaded.config)?;
                let facts = app.state().show_status.facts(Asked::InItsPlace).await;
                serde_json::to_value(report(&facts))?
            }
            Err(refused @ Unanswered::Refused { .. }) => {
                out.complain(&format!("error: {refused}"))?;
                return Ok(Exit::CannotTell);
            }
        };
        if out.json {
            out.say_json(&report)?;
        } else {
            say(&report, self.lang, out)?;
        }
        let is_well = text(&report, "status") == "ok";
        Ok(if is_well { Exit::Done } else { Exit::Failed })
    }
}

fn say(report: &Value, lang: Lang, out: &mut Output) -> anyhow::Result<()> {
    let message = format!("message_{}", lang.tag());
    out.say(text(report, &message))?;
    let problems = report.get("problems").and_then(Value::as_array);
    let Some(problems) = problems.filter(|problems| !problems.is_empty()) else { return Ok(()) };
    let mut table = Table::new(["PROBLEM", "ABOUT", "SINCE", "COUNT", "SAR"]);
    for problem in problems {
        let shown = ["kind", "about", "since", "count", "amount_sar"];
        table.row(shown.map(|name| cell(problem, name)));
    }
    out.say("")?;
    table.say(out)?;
    out.say("")?;
    for problem in problems {
        out.say(&format!("- {}", text(problem, &message)))?;
        out.say(&format!("    {}", text(problem, "next_command")))?;
        for id in problem.get("checkout_ids").and_then(Value::as_array).into_iter().flatten() {
            out.say(&format!("    checkout {}", id.as_str().unwrap_or_default()))?;
        }
    }
    out.say("")?;
    let next = match lang {
        Lang::En => "Next:",
        Lang::Ar => "الخطوة التالية:",
    };
    out.say(&format!("{next} {}", text(report, "next_command")))?;
    Ok(())
}
