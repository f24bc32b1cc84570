//! `token`: signs a token, for an operator or a script that should not hold a key.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Exit, Output, is_made_up};
use crate::access::{Access, Scope};
use crate::clock::Clock;
use crate::config::Loaded;

/// Longest life of a token; who needs more needs a key.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// Issue tokens for the admin and service routes.
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Sign a token and print it; nothing is stored, and it cannot be recalled.
    #[command(after_long_help = "\
Example:
  curl -H \"Authorization: Bearer $(dealix-api token issue --scope admin:read --ttl 15m)\" \\
    http://127.0.0.1:8001/api/v1/admin/circuit-breakers")]
    Issue {
        /// What it allows: service, admin:read (look) or admin (everything).
        #[arg(long, default_value = "admin", value_parser = scope)]
        scope: Scope,
        /// How long it is valid: 90s, 15m, 1h, 7d; at most 30d.
        #[arg(long, default_value = "1h", value_parser = lifetime)]
        ttl: Duration,
        /// Who it is for; stands in logs and in the audit.
        #[arg(long, default_value = "operator", value_parser = subject)]
        subject: String,
    },
}

impl Token {
    pub(super) fn run(self, loaded: &Loaded, out: &mut Output) -> anyhow::Result<Exit> {
        let Action::Issue { scope, ttl, subject } = self.command;
        if is_made_up(loaded, "JWT_SECRET_KEY") {
            out.complain(
                "error: JWT_SECRET_KEY is not set; a running service has made up its own",
            )?;
            return Ok(Exit::Failed);
        }
        let now = Clock::default().now();
        let token = Access::new(&loaded.config.auth).issue_token(&subject, scope, ttl, now)?;
        if out.json {
            let expires_at = now + ttl;
            let scope = scope.name();
            out.say_json(&json!({
                "token": token, "scope": scope, "subject": subject, "expires_at": expires_at,
            }))?;
        } else {
            out.say(&token)?;
        }
        Ok(Exit::Done)
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    let known = Scope::ALL.into_iter().find(|scope| scope.name() == text);
    known.ok_or_else(|| format!("one of {}", Scope::ALL.map(Scope::name).join(", ")))
}

pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    let unit_secs = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    };
    let secs = text.chars().next_back().and_then(unit_secs).and_then(|unit_secs: u64| {
        let number: u64 = text.get(..text.len().checked_sub(1)?)?.parse().ok()?;
        number.checked_mul(unit_secs)
    });
    secs.map(Duration::from_secs)
        .filter(|ttl| !ttl.is_zero() && *ttl <= LONGEST)
        .ok_or_else(|| "a number with s, m, h or d, at most 30d".to_owned())
}

pub(super) fn subject(text: &str) -> Result<String, String> {
    let is_right =
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_right.then(|| text.to_owned()).ok_or_else(|| "1 to 64 visible ASCII characters".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_written_with_a_unit_and_have_an_end() {
        for (text, secs) in [("90s", 90), ("15m", 900), ("1h", 3_600), ("30d", 2_592_000)] {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(secs)), "{text}");
        }
        for wrong in ["", "h", "1", "1w", "-1h", "0s", "31d", "99999999999999999999d", "ساعة"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_scope_and_a_subject_are_what_logs_can_show() {
        assert_eq!(scope("admin:read"), Ok(Scope::AdminRead));
        assert!(scope("root").is_err());
        assert!(subject("deploy-script").is_ok());
        assert!(subject("").is_err() && subject("two words").is_err());
        assert!(subject(&"s".repeat(64)).is_ok() && subject(&"s".repeat(65)).is_err());
    }
}
