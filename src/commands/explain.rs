//! `explain`: what an id is the name of, and everything that happened to it.

use clap::Args;
use serde_json::Value;

use super::api::{Api, NO_KEY, Unanswered, segment};
use super::assembled::assemble;
use super::status::Lang;
use super::table::Table;
use super::{Exit, Output};
use crate::config::Loaded;

/// Show what an id is the name of, how it stands, and everything that happened to it in order.
///
/// A request, an event (by our id or Moyasar's), a payment, an invoice, a checkout, a review, a dead letter,
/// or a customer's e-mail address. Asks the running API; when it is down, asks the stores
/// themselves.
/// Exit code 1 if nothing bears that name.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api explain b61e6ba5-3682-4dd6-b804-69b84b2d451c
  dealix-api explain b61e6ba5-3682-4dd6-b804-69b84b2d451c --lang ar
  dealix-api explain buyer@example.com --json | jq '.timeline[].what'")]
pub struct Explain {
    /// Any id, or an e-mail address.
    id: String,
    /// The language of the sentences.
    #[arg(long, value_enum, default_value = "en")]
    lang: Lang,
}

impl Explain {
    pub(super) async fn run(self, loaded: &Loaded, out: &mut Output) -> anyhow::Result<Exit> {
        let Some(api) = Api::of(loaded) else {
            out.complain(NO_KEY)?;
            return Ok(Exit::CannotTell);
        };
        let path = format!("/api/v1/admin/explain/{}", segment(&self.id));
        let story = match api.speaking(self.lang.tag()).get(&path).await {
            Ok(story) => story,
            Err(Unanswered::Down { .. }) => {
                let flow = assemble(&loaded.config)?.state().tell_story.clone();
                let Some(story) = flow.run(&self.id, self.lang.locale()).await? else {
                    out.complain("error: nothing bears that name")?;
                    return Ok(Exit::Failed);
                };
                serde_json::to_value(story)?
            }
            Err(refused @ Unanswered::Refused { .. }) => {
                out.complain(&format!("error: {refused}"))?;
                return Ok(Exit::Failed);
            }
        };
        if out.json {
            out.say_json(&story)?;
        } else {
            say(&story, out)?;
        }
        Ok(Exit::Done)
    }
}

fn say(story: &Value, out: &mut Output) -> anyhow::Result<()> {
    let text = |of: &Value, name: &str| {
        of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let list = |name: &str| story.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    out.say(&format!("{} {}", text(story, "is"), text(story, "id")))?;
    out.say("")?;
    let mut actors = Table::new(["WHAT", "ID", "STATE", ""]);
    for actor in list("actors") {
        actors.row(["is", "id", "state", "text"].map(|name| text(&actor, name)));
    }
    actors.say(out)?;
    out.say("")?;
    let mut lines = Table::new(["AT", "WHAT", "SUBJECT", "", "DETAILS"]);
    for line in list("timeline") {
        let details = line.get("details").map(Value::to_string).unwrap_or_default();
        let [at, what, subject, said] = ["at", "what", "subject", "text"].map(|it| text(&line, it));
        lines.row([at, what, subject, said, details]);
    }
    lines.say(out)?;
    if story.get("is_cut") == Some(&Value::Bool(true)) {
        out.complain("older happenings are not shown")?;
    }
    Ok(())
}
