//! `serve`: starts the service and stops it gracefully.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, Output};
use crate::app::{self, App, Overrides};
use crate::config::{Config, Environment, Loaded};
use crate::db;
use crate::tasks::Tasks;
use crate::telemetry;

/// What a connection gets to notice that its time for draining is over.
const CUT_OFF: Duration = Duration::from_millis(500);

/// How long saying goodbye to Postgres may take.
const CLOSE: Duration = Duration::from_millis(500);

/// How long the last error reports may take.
const FLUSH: Duration = Duration::from_secs(2);

/// Serve requests until SIGTERM or SIGINT.
///
/// Starts also when Postgres or Redis is down, says so in /ready and /health/deep, and recovers by
/// itself. Never migrates. On the first signal it stops taking requests, gives those in flight 3 s
/// and its jobs the rest of 25 s; a second signal stops it at once.
#[derive(Debug, Default, Args)]
#[command(after_long_help = "\
Examples:
  dealix-api serve
  dealix-api serve --passive   look at a copy of production without touching the world
  APP_PORT=9000 APP_LOG_LEVEL=debug dealix-api serve")]
pub struct Serve {
    /// Change nothing by itself and refuse every outbound call; health is still checked.
    #[arg(long)]
    passive: bool,
}

impl Serve {
    pub(super) async fn run(self, loaded: Loaded, out: &mut Output) -> anyhow::Result<Exit> {
        let config = &loaded.config;
        // Before anything is started: from now on no signal is lost.
        let mut signals = Signals::listen()?;
        let telemetry = telemetry::init(config)?;
        let db = app::open_pool(config)?;
        let tasks = Tasks::default();
        let overrides = Overrides { is_passive: self.passive, ..Overrides::default() };
        let app = App::build(config, db.clone(), tasks.clone(), overrides)?;
        app.report_errors_of(&telemetry);
        let address = SocketAddr::new(config.app.host, config.app.port);
        let listener = bind(address, "APP_HOST and APP_PORT")?;
        let url = format!("http://{}", listener.local_addr()?);
        if let Some(address) = config.app.metrics_addr {
            app.serve_metrics(bind(address, "METRICS_ADDR")?);
        }
        app.heed_overrides().await;
        app.serve(listener);
        app.start_jobs();
        announce(&url, &loaded, out)?;
        warn(&loaded);
        warn_of_superuser(&tasks, db.clone());

        tokio::select! {
            signal = signals.next() => tracing::info!("Stopping: {signal}"),
            // A loop that died has said so.
            () = app.requests().stopping().cancelled() => (),
        }
        let drain = Duration::from_secs(config.http.drain_secs) + CUT_OFF;
        let stopping = async {
            // Requests first: until they are answered they may need what the jobs do.
            app.requests().stop(drain).await;
            tasks.stop(Duration::MAX).await;
            let _closed = tokio::time::timeout(CLOSE, db.close()).await;
            app.flush_reports(FLUSH).await;
        };
        let bound = Duration::from_secs(config.http.shutdown_secs);
        tokio::select! {
            end = tokio::time::timeout(bound, stopping) => if end.is_err() {
                tracing::error!("Stopped hard: not everything ended within {}s", bound.as_secs());
            },
            signal = signals.next() => {
                tracing::error!("Stopped hard: {signal} again");
                return Ok(Exit::StoppedHard);
            }
        }
        Ok(if tasks.is_broken() { Exit::LoopDied } else { Exit::Done })
    }
}

fn bind(address: SocketAddr, names: &str) -> anyhow::Result<TcpListener> {
    app::listen(address).with_context(|| format!("cannot listen on {address} ({names})"))
}

/// Tells where we are, on one line that scripts can wait for, and once what was made up.
fn announce(url: &str, loaded: &Loaded, out: &mut Output) -> anyhow::Result<()> {
    for (name, secret) in &loaded.made_up {
        out.say(&format!("made up for this run: {name}={}", secret.expose_secret()))?;
    }
    let line = format!("listening on {url}");
    // Where machines read the log, this line is one of theirs.
    if out.json || loaded.config.app.env.is_strict() {
        out.say_json(&json!({ "message": line, "url": url }))?;
    } else {
        out.say(&line)?;
    }
    Ok(())
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!("Configuration: {warning}");
    }
    let Config { app, flags, .. } = &loaded.config;
    if app.env == Environment::Production && !flags.webhook_verify_all {
        tracing::error!("WEBHOOK_VERIFY_ALL=false is refused: webhooks stay verified");
    }
}

/// Says so, once Postgres can be asked; the service works all the same.
fn warn_of_superuser(tasks: &Tasks, db: PgPool) {
    tasks.spawn(async move {
        if let Ok(true) = db::role::is_superuser(&db).await {
            tracing::warn!(
                "The role in DATABASE_URL is a superuser; it should own its schema and no more"
            );
        }
    });
}

/// The signals that ask for an end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
