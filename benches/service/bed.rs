//! What one scenario runs on: a fresh database, a sandbox, and the service as a process of its own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use dealix_sandbox::{Options, Sandbox};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgPool};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

const WEBHOOK_SECRET: &str = "webhook-secret-of-the-bench-0123456789abcdef";

/// Divides the waits of the provider's retries: a minute is half a second.
const TIME_SCALE: u32 = 120;

/// Stands until it is dropped.
pub struct Bed {
    pub sandbox: Sandbox,
    pub db: PgPool,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    process: Child,
    _reading: JoinSet<()>,
}

/// The two stores, as processes that can be frozen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store {
    Postgres,
    Redis,
}

impl Bed {
    /// A database with all migrations, an empty Redis, a sandbox, and the service in front.
    pub async fn make() -> anyhow::Result<Self> {
        let postgres: PgConnectOptions = variable("DATABASE_URL")?.parse()?;
        let name = format!("bench_{}", Uuid::new_v4().simple());
        let admin = PgPool::connect_with(postgres.clone()).await?;
        sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&admin).await?;
        let postgres = postgres.database(&name);
        let database_url = postgres.to_url_lossy().to_string();
        let redis_url = variable("REDIS_URL")?;
        let redis = redis::Client::open(redis_url.as_str())?;
        let mut redis = redis.get_multiplexed_async_connection().await?;
        redis::cmd("flushall").query_async::<()>(&mut redis).await?;

        let options =
            Options { time_scale: TIME_SCALE, ledger_limit: 200_000, ..Options::default() };
        let sandbox = Sandbox::start(options).await?;
        let (moyasar, posthog) = (sandbox.moyasar_url(), sandbox.posthog_url());
        let environment = [
            ("APP_ENV", "staging"),
            ("APP_LOG_LEVEL", "warn"),
            ("APP_PORT", "0"),
            ("METRICS_ADDR", ""),
            // Not this machine: callbacks stay at the provider, and webhooks alone have to do it.
            ("APP_URL", "https://api.dealix.me"),
            ("DATABASE_URL", &database_url),
            ("REDIS_URL", &redis_url),
            ("MOYASAR_BASE_URL", moyasar.as_str()),
            ("MOYASAR_SECRET_KEY", sandbox.secret_key()),
            ("MOYASAR_WEBHOOK_SECRET", WEBHOOK_SECRET),
            ("POSTHOG_HOST", posthog.as_str()),
            ("POSTHOG_API_KEY", sandbox.posthog_key()),
            ("JWT_SECRET_KEY", "jwt-secret-of-the-bench-0123456789abcdef"),
            ("ADMIN_API_KEYS", "admin-key-of-the-bench-0123456789abcdef"),
            // 200 a second are twice what is let through from one address.
            ("RATELIMIT_ENABLED", "false"),
            ("ABUSE_GUARDS_ENABLED", "false"),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_dealix-api"));
        command.env_clear().envs(environment).stdin(Stdio::null()).kill_on_drop(true);
        let migrated = command.args(["migrate", "up"]).stdout(Stdio::null()).status().await?;
        anyhow::ensure!(migrated.success(), "the migrations failed");

        let mut command = Command::new(env!("CARGO_BIN_EXE_dealix-api"));
        command.env_clear().envs(environment).stdin(Stdio::null()).kill_on_drop(true);
        let mut process = command.arg("serve").stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let url = loop {
            let line = lines.next_line().await?.context("the service did not start")?;
            if let Some((_, rest)) = line.split_once("listening on http://") {
                let end = rest.find(|it: char| !matches!(it, '0'..='9' | '.' | ':'));
                break format!("http://{}", rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest));
            }
        };
        // What it complains of is not of interest, but must not fill the pipe.
        let mut reading = JoinSet::new();
        reading.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let webhooks = format!("{url}/api/v1/webhooks/moyasar").parse()?;
        sandbox.register_webhook(webhooks, WEBHOOK_SECRET);
        let db = PgPool::connect_with(postgres).await?;
        Ok(Self { sandbox, db, url, process, _reading: reading })
    }

    /// One number from the database.
    pub async fn count(&self, statement: &'static str) -> anyhow::Result<u64> {
        let count: i64 = sqlx::query_scalar(statement).fetch_one(&self.db).await?;
        Ok(count.try_into()?)
    }

    /// Waits until a count is reached, at most `patience`; tells how long it took.
    pub async fn until(
        &self,
        statement: &'static str,
        wanted: u64,
        patience: Duration,
    ) -> anyhow::Result<Duration> {
        let began = Instant::now();
        while self.count(statement).await? < wanted && began.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(began.elapsed())
    }

    /// The most memory the process ever held, in KiB; none where the system does not say.
    pub fn peak_kib(&self) -> Option<u64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Whether the service still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }
}

/// Stops every process of a store: connections are still accepted, by the system, and nothing answers.
pub async fn freeze(store: Store) -> anyhow::Result<()> {
    signal(store, "STOP").await
}

/// Lets it go on.
pub async fn thaw(store: Store) -> anyhow::Result<()> {
    signal(store, "CONT").await
}

async fn signal(store: Store, signal: &str) -> anyhow::Result<()> {
    let main = match store {
        Store::Postgres => variable("BENCH_POSTGRES_PID")?,
        Store::Redis => variable("BENCH_REDIS_PID")?,
    };
    // The main process first, so that it starts no child that is missed.
    let command =
        format!("kill -{signal} {main}; kill -{signal} $(pgrep -P {main}) 2>/dev/null; true");
    let status = Command::new("sh").args(["-c", &command]).status().await?;
    anyhow::ensure!(status.success(), "{store:?} could not be signalled");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the script says where the stores are")]
fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set: start it by script/bench"))
}
