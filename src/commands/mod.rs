//! How an operator asks: the command line. One file per command; nothing else prints.

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{ConfigProblem, Loaded, Sources, load};

mod api;
mod assembled;
mod body;
mod breaker;
mod check_config;
mod confirm;
mod desk;
mod dlq;
mod explain;
mod healthcheck;
mod migrate;
mod openapi;
mod output;
mod serve;
mod status;
mod table;
mod token;

pub use output::Output;

/// Sells Dealix: checkout, payments, dead letters and circuit breakers in one binary.
#[derive(Debug, Parser)]
#[command(name = "dealix-api", version = VERSION, after_long_help = EXAMPLES)]
pub struct Cli {
    /// Print JSON, for machines.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("DEALIX_COMMIT"), ")");

const EXAMPLES: &str = "\
Examples:
  dealix-api check-config           what is in force, and everything that is wrong with it
  dealix-api migrate up             bring the database to what this binary needs
  dealix-api                        the same as `dealix-api serve`
  dealix-api status                 what is wrong, and what to do next
  dealix-api explain ID             what an id is the name of, and what happened to it
  dealix-api token issue --ttl 1h   a token for the admin routes
  dealix-api breaker list           whom we call, and whom we leave alone
  dealix-api dlq stats              what could not be done, and waits

Exit codes:
  0   done; for serve: stopped when asked to
  1   failed; standard error says why
  2   the command line was not understood; for status: it cannot be told
  70  serve: a background loop died
  78  the configuration must be mended first
  130 serve: stopped hard by a second signal

Settings come from compiled-in files, .env, the environment and systemd credentials, in this order;
.env.example lists them all.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Migrate(migrate::Migrate),
    CheckConfig(check_config::CheckConfig),
    /// Print the OpenAPI 3.1 document of every route; needs no settings and connects to nothing.
    #[command(after_long_help = "Example:\n  dealix-api openapi | jq '.paths | keys'")]
    Openapi,
    Token(token::Token),
    Breaker(breaker::Breaker),
    Dlq(dlq::Dlq),
    Healthcheck(healthcheck::Healthcheck),
    Status(status::Status),
    Explain(explain::Explain),
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exit {
    Done,
    Failed,
    LoopDied,
    CannotTell,
    BadConfig,
    StoppedHard,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::CannotTell => 2,
            Exit::LoopDied => 70,
            Exit::BadConfig => 78,
            Exit::StoppedHard => 130,
        })
    }
}

/// Does what the operator asked for.
pub async fn run(cli: Cli, sources: &Sources, mut out: Output) -> ExitCode {
    out.json = cli.json;
    let command = cli.command.unwrap_or(Command::Serve(serve::Serve::default()));
    let end = match command {
        Command::CheckConfig(command) => command.run(sources, &mut out),
        Command::Openapi => openapi::run(&mut out),
        Command::Healthcheck(command) => command.run(sources, &mut out).await,
        Command::Serve(command) => match load(sources) {
            Ok(loaded) => Box::pin(command.run(loaded, &mut out)).await,
            Err(problems) => refuse(&problems, &mut out),
        },
        Command::Migrate(command) => match load(sources) {
            Ok(loaded) => command.run(&loaded, &mut out).await,
            Err(problems) => refuse(&problems, &mut out),
        },
        Command::Status(command) => match load(sources) {
            Ok(loaded) => Box::pin(command.run(&loaded, &mut out)).await,
            Err(problems) => refuse(&problems, &mut out),
        },
        Command::Explain(command) => match load(sources) {
            Ok(loaded) => Box::pin(command.run(&loaded, &mut out)).await,
            Err(problems) => refuse(&problems, &mut out),
        },
        Command::Token(command) => match load(sources) {
            Ok(loaded) => command.run(&loaded, &mut out),
            Err(problems) => refuse(&problems, &mut out),
        },
        Command::Breaker(command) => match load(sources) {
            Ok(loaded) => Box::pin(command.run(&loaded, &mut out)).await,
            Err(problems) => refuse(&problems, &mut out),
        },
        Command::Dlq(command) => match load(sources) {
            Ok(loaded) => Box::pin(command.run(&loaded, &mut out)).await,
            Err(problems) => refuse(&problems, &mut out),
        },
    };
    end.unwrap_or_else(|error| {
        // Who stopped reading, as `head` does, has seen enough. And if a complaint cannot be made,
        // the exit code must do.
        if !is_broken_pipe(&error) {
            let _unsaid = out.complain(&format!("error: {error:#}"));
        }
        Exit::Failed
    })
    .into()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn refuse(problems: &[ConfigProblem], out: &mut Output) -> anyhow::Result<Exit> {
    out.complain("error: the configuration cannot be used:")?;
    for problem in problems {
        out.complain(&format!("  {problem}"))?;
    }
    out.complain("`dealix-api check-config` shows what is in force.")?;
    Ok(Exit::BadConfig)
}

/// Whether the process made this variable up, so that no other process knows its value.
fn is_made_up(loaded: &Loaded, name: &str) -> bool {
    loaded.made_up.iter().any(|(made_up, _)| *made_up == name)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::domain::status::{Books, Facts, Letters, OpenBreaker, QueueFacts, report};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_one_screen_says_to_type_about_queues_and_breakers_can_be_typed() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let queue = |name, depth, dead| QueueFacts {
            name,
            depth,
            dead,
            oldest_at: None,
            dead_groups: Vec::new(),
        };
        let letters = Letters {
            flaw: None,
            queues: vec![queue("webhooks", 3, 3), queue("crm_sync", 2_000, 0)],
        };
        let facts = Facts {
            now,
            is_api_down: false,
            postgres: Ok(Books { outbox_refused: 1, ..Books::default() }),
            redis: Ok(letters),
            breakers: vec![OpenBreaker { name: "moyasar", since: None }],
        };
        let typed: Vec<_> =
            report(&facts).problems.into_iter().map(|problem| problem.next_command).collect();
        assert_eq!(
            typed,
            [
                "dealix-api dlq list webhooks --state dead",
                "dealix-api breaker list",
                "dealix-api dlq stats",
                "dealix-api dlq list analytics",
            ]
        );
        for line in typed {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
