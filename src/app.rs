//! The composition root: the only file that names every concrete part.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::FromRef;
use chrono::TimeDelta;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use utoipa::openapi::OpenApi;

use crate::access::Access;
use crate::clients::breakers::Breakers;
use crate::clients::moyasar::{self, Moyasar};
use crate::clients::posthog::{self, Posthog};
use crate::clients::sentry::{Reporter, Sentry};
use crate::clock::Clock;
use crate::config::{Config, Environment, LlmConfig};
use crate::db;
use crate::domain::funnel::Analytics;
use crate::domain::plan::{CATALOGUE, Catalogue};
use crate::flows::breakers::override_breaker::OverrideBreaker;
use crate::flows::checkout::prompt_look::PromptLook;
use crate::flows::checkout::show_checkout::ShowCheckout;
use crate::flows::checkout::start_checkout::StartCheckout;
use crate::flows::health::check_sentry::CheckSentry;
use crate::flows::health::health_board::HealthBoard;
use crate::flows::health::show_status::ShowStatus;
use crate::flows::letters::operate::Operate;
use crate::flows::settling::expire_subscriptions::ExpireSubscriptions;
use crate::flows::tell_story::TellStory;
use crate::flows::webhooks::inbox::Inbox;
pub use crate::http::server::listen;
use crate::http::server::{self, Limits};
use crate::http::{self, PriceList};
use crate::jobs::Step;
use crate::jobs::call_for_help::CallForHelpJob;
use crate::jobs::commit_events::CommitEventsJob;
use crate::jobs::deliver_events::DeliverEventsJob;
use crate::jobs::expire_subscriptions::ExpireSubscriptionsJob;
use crate::jobs::keep_quarantine::KeepQuarantineJob;
use crate::jobs::settle_events::SettleEventsJob;
use crate::queue::{Letters, Redis};
use crate::tasks::Tasks;
use crate::telemetry::{BUILD, Metrics, Telemetry};
use crate::wake::Wake;

mod after_sales;
mod inbox;
mod jobs;
mod people;

use self::after_sales::AfterSales;
use self::inbox::{LetterJobs, Surroundings};
use self::jobs::Watch;

/// The parts a handler may ask for. Each is cheap to clone.
#[derive(Clone, FromRef)]
pub(crate) struct AppState {
    pub db: PgPool,
    pub clock: Clock,
    pub wake: Wake,
    pub tasks: Tasks,
    pub access: Access,
    pub http: Arc<http::Settings>,
    pub limits: Arc<http::RateLimits>,
    pub breakers: Arc<Breakers>,
    pub override_breaker: OverrideBreaker,
    pub catalogue: Arc<Catalogue>,
    pub prices: Arc<PriceList>,
    pub analytics: Analytics,
    pub start_checkout: StartCheckout,
    pub show_checkout: ShowCheckout,
    pub prompt_look: PromptLook,
    pub inbox: Arc<Inbox>,
    pub redis: Redis,
    pub letters: Letters,
    pub operate: Operate,
    pub tell_story: TellStory,
    pub check_sentry: CheckSentry,
    pub show_status: ShowStatus,
    pub health: HealthBoard,
    pub metrics: Metrics,
}

/// What differs between production and a test.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The time, if a test holds it.
    pub clock: Clock,
    /// Run no job and refuse every outbound call.
    pub is_passive: bool,
    /// What the keys in Redis begin with, so that tests share one.
    pub redis_prefix: Option<String>,
}

/// The service, wired but not yet started.
#[derive(Clone)]
pub struct App {
    state: AppState,
    requests: Tasks,
    limits: Limits,
    commit_events: CommitEventsJob,
    keep_quarantine: KeepQuarantineJob,
    letter_jobs: LetterJobs,
    /// None without a key at the payment provider: there is nothing to settle.
    settle_events: Option<SettleEventsJob>,
    after_sales: AfterSales,
    /// None where analytics is switched off: there is nothing to send.
    deliver_events: Option<DeliverEventsJob>,
    watch: Watch,
    call_for_help: CallForHelpJob,
    is_passive: bool,
}

/// The connections to Postgres as the service opens them: when they are first needed.
pub fn open_pool(config: &Config) -> anyhow::Result<PgPool> {
    db::pool::open(&config.database.url, config.database.max_connections)
}

impl App {
    /// Wires the parts together; reaches out to nothing, but needs a tokio runtime. Tests call
    /// this with a pool of their own.
    pub fn build(
        config: &Config,
        db: PgPool,
        tasks: Tasks,
        overrides: Overrides,
    ) -> anyhow::Result<Self> {
        let Overrides { clock, is_passive, redis_prefix } = overrides;
        let requests = tasks.child();
        let wake = Wake::default();
        let catalogue = Arc::new(Catalogue::parse(CATALOGUE).context("config/plans.toml")?);

        let mut breakers = Breakers::new(clock.clone(), is_passive);
        let breaker = breakers.add(moyasar::CLIENT, config.moyasar.breaker);
        let moyasar = Moyasar::new(&config.moyasar, breaker, clock.clone())?;
        let breaker = breakers.add(posthog::CLIENT, config.posthog.breaker);
        let posthog = Posthog::new(&config.posthog, breaker, clock.clone())?;
        let analytics = if posthog.is_some() { Analytics::On } else { Analytics::Off };
        let clients = (moyasar.clone(), posthog.clone());
        let check_sentry = CheckSentry {
            sentry: Sentry::new(&config.sentry, reporter(config, clock.clone(), is_passive))?,
            db: db.clone(),
            analytics,
            bell: Arc::clone(&wake.outbox),
            clock: clock.clone(),
        };
        let health = health_board(config, &clock, &requests);

        let start_checkout = StartCheckout {
            db: db.clone(),
            moyasar,
            catalogue: Arc::clone(&catalogue),
            sells_hidden: config.app.env != Environment::Production,
            app_url: config.app.url.clone(),
            guard: after_sales::email_guard(config),
            resolve_after: TimeDelta::seconds(config.checkout.resolve_after_secs.into()),
            analytics,
            clock: clock.clone(),
            wake: wake.clone(),
        };
        let (prompt_look, show_checkout) = people::buyers(&db, &wake, &clock);
        let redis = Redis::new(&config.redis.url).context("REDIS_URL")?;
        let parts = inbox::wire(Surroundings {
            config,
            db: db.clone(),
            redis: redis.clone(),
            redis_prefix,
            clients: clients.clone(),
            analytics,
            clock: clock.clone(),
            wake: wake.clone(),
            tasks: tasks.clone(),
        })?;
        let (settle_events, deliver_events) =
            jobs::workers(config, parts.settle, posthog, &db, &wake, &clock);
        let breakers = Arc::new(breakers);
        let override_breaker = people::override_breaker(&db, &breakers, &clock);
        let show_status = people::show_status(&db, &redis, &parts.letters, &breakers, &clock);
        let tell_story = people::tell_story(&db, &parts.letters, &clock);
        let state = AppState {
            db,
            http: Arc::new(http_settings(config, &clock)?),
            limits: Arc::new(http::RateLimits::new(&rates(config), clock.clone())),
            clock,
            wake,
            tasks,
            access: Access::new(&config.auth),
            breakers,
            override_breaker,
            prices: Arc::new(PriceList::new(&catalogue)?),
            catalogue,
            analytics,
            start_checkout,
            show_checkout,
            prompt_look,
            inbox: parts.inbox,
            redis,
            letters: parts.letters,
            operate: parts.operate,
            tell_story,
            check_sentry,
            show_status,
            health,
            metrics: Metrics::install()?,
        };
        let after_sales = AfterSales::new(config, &state, clients.0.clone());
        let call_for_help = jobs::call_for_help(config, &state)?;
        let watch = jobs::watch(config, &state, clients);
        Ok(Self {
            state,
            requests,
            limits: limits(config),
            commit_events: parts.commit_events,
            keep_quarantine: parts.keep_quarantine,
            letter_jobs: parts.letter_jobs,
            settle_events,
            after_sales,
            deliver_events,
            watch,
            call_for_help,
            is_passive,
        })
    }

    /// The parts, for a command that uses them without serving.
    pub(crate) fn state(&self) -> &AppState {
        &self.state
    }

    /// The HTTP side.
    pub fn router(&self) -> http::Front {
        http::router(self.state.clone())
    }

    /// Starts what requests wait for. Whoever asks the router without [`Self::serve`] calls this.
    pub fn start_inbox(&self) {
        let job = self.commit_events.clone();
        self.state.tasks.start("commit_events", |stop| job.run(stop));
    }

    /// Starts what reports to Sentry wait for. Whoever runs the jobs without [`Self::start_jobs`] calls this.
    pub fn start_reports(&self) {
        let send_reports = self.watch.send_reports.clone();
        self.state.tasks.start("send_reports", |stop| send_reports.run(stop));
    }

    /// Answers who connects to `listener`, until [`Self::requests`] are told to stop.
    pub fn serve(&self, listener: TcpListener) {
        self.start_inbox();
        let room = server::room_for_connections(self.limits.max_connections);
        let limits = Limits { max_connections: room, ..self.limits };
        let (service, tasks) = (self.router(), self.requests.clone());
        self.requests.start("http", |stop| server::serve(listener, service, limits, tasks, stop));
    }

    /// Shows metrics, and nothing else, without a key to who connects to `listener`.
    pub fn serve_metrics(&self, listener: TcpListener) {
        let (service, limits, tasks) = (self.metrics_router(), self.limits, self.requests.clone());
        self.requests
            .start("metrics", |stop| server::serve(listener, service, limits, tasks, stop));
    }

    /// What is shown there.
    pub fn metrics_router(&self) -> Router {
        http::metrics_router(self.state.metrics.clone())
    }

    /// The connections and whoever accepts them. They stop before the jobs, or with them.
    pub fn requests(&self) -> &Tasks {
        &self.requests
    }

    /// Lets the circuit breakers do what operators have said, before anybody is called; without
    /// Postgres, which knows it, as soon as it is there.
    pub async fn heed_overrides(&self) {
        if let Err(error) = self.watch.follow_overrides.step().await {
            tracing::warn!(%error, "What operators said to the breakers is not known yet: {error:#}");
        }
    }

    /// Starts the background side; in a passive process only what looks and reports.
    pub fn start_jobs(&self) {
        let tasks = &self.state.tasks;
        let Watch { check_health, upkeep, backlog, follow_overrides, .. } = self.watch.clone();
        tasks.start("follow_overrides", |stop| follow_overrides.run(stop));
        check_health.start(tasks);
        tasks.start("upkeep", |stop| upkeep.run(stop));
        self.start_reports();
        tasks.start("watch_backlog", |stop| backlog.run(stop));
        if self.is_passive {
            return;
        }
        let keep_quarantine = self.keep_quarantine.clone();
        tasks.start("keep_quarantine", |stop| keep_quarantine.run(stop));
        self.letter_jobs.start(tasks);
        let lapse = self.expire_subscriptions();
        tasks.start("expire_subscriptions", |stop| lapse.run(stop));
        if let Some(job) = self.settle_events.clone() {
            tasks.start("settle_events", |stop| job.run(stop));
        }
        let call_for_help = self.call_for_help.clone();
        tasks.start("call_for_help", |stop| call_for_help.run(stop));
        self.after_sales.start(tasks);
        if let Some(job) = self.deliver_events.clone() {
            tasks.start("deliver_events", |stop| job.run(stop));
        }
    }

    fn expire_subscriptions(&self) -> ExpireSubscriptionsJob {
        let AppState { db, clock, .. } = self.state.clone();
        ExpireSubscriptionsJob { flow: ExpireSubscriptions { db, clock } }
    }

    /// Runs every health check once. Tests call this instead of waiting.
    pub async fn check_health(&self) {
        self.watch.check_health.step().await;
    }

    /// Sets every gauge of the process once.
    pub fn upkeep(&self) {
        self.watch.upkeep.step();
    }

    /// Shows the backlogs on the gauges once.
    pub async fn watch_backlog(&self) -> anyhow::Result<()> {
        self.watch.backlog.step().await.map(|_| ())
    }

    /// Looks for troubles once, and tells whoever is on call.
    pub async fn call_for_help(&self) -> anyhow::Result<()> {
        self.call_for_help.step().await.map(|_| ())
    }

    /// Lets the circuit breakers do what operators said to any instance.
    pub async fn follow_overrides(&self) -> anyhow::Result<()> {
        self.watch.follow_overrides.step().await.map(drop)
    }

    /// From now on every logged error is also reported to Sentry.
    pub fn report_errors_of(&self, telemetry: &Telemetry) {
        telemetry.report_to(self.state.check_sentry.sentry.clone());
    }

    /// Sends the error reports that still wait, once all tasks have stopped; tells whether
    /// `patience` sufficed.
    pub async fn flush_reports(&self, patience: Duration) -> bool {
        self.state.check_sentry.sentry.flush(patience).await
    }

    /// Runs steps of every background loop until none of them finds any work.
    pub async fn run_jobs_until_idle(&self) -> anyhow::Result<()> {
        loop {
            let mut step = self.keep_quarantine.step().await?;
            step = step.or(Box::pin(self.letter_jobs.step()).await?);
            step = step.or(self.expire_subscriptions().step().await?);
            if let Some(job) = &self.settle_events {
                step = step.or(job.step().await?);
            }
            step = step.or(self.after_sales.step().await?);
            if let Some(job) = &self.deliver_events {
                step = step.or(job.step().await?);
            }
            if step == Step::Idle {
                return Ok(());
            }
        }
    }
}

/// The document of every route.
pub fn openapi() -> OpenApi {
    http::openapi()
}

#[cfg(test)]
impl AppState {
    /// The parts, wired to stores that are not there, for tests of how we are asked.
    pub(crate) fn without_stores(variables: &[(&str, &str)]) -> Self {
        let url = "postgres://127.0.0.1:1/none";
        let own = [
            ("APP_ENV", "test"),
            ("DATABASE_URL", url),
            ("REDIS_URL", "redis://127.0.0.1:1"),
            ("JWT_SECRET_KEY", "a-secret-for-tests-0123456789abcdef"),
            ("ADMIN_API_KEYS", "admin-key-for-tests-0123456789abcdef"),
        ];
        let variables = own.iter().chain(variables);
        let environment =
            variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let sources = crate::config::Sources { environment, ..crate::config::Sources::default() };
        let config = crate::config::load(&sources).unwrap().config;
        let db = PgPool::connect_lazy(url).unwrap();
        App::build(&config, db, Tasks::default(), Overrides::default()).unwrap().state
    }
}

/// How much of our time a connection may take.
fn limits(config: &Config) -> Limits {
    Limits {
        header_timeout: Duration::from_secs(config.http.header_timeout_secs),
        write_timeout: Duration::from_secs(config.http.read_timeout_secs),
        max_connections: config.http.max_connections,
        drain: Duration::from_secs(config.http.drain_secs),
    }
}

/// Where health checks leave their findings.
fn health_board(config: &Config, clock: &Clock, requests: &Tasks) -> HealthBoard {
    let interval = Duration::from_secs(config.health.interval_secs);
    HealthBoard::new(interval, clock.clone(), requests.stopping().clone())
}

/// Who reports errors.
fn reporter(config: &Config, clock: Clock, is_passive: bool) -> Reporter {
    let release = format!("{}+{}", BUILD.version, BUILD.commit);
    Reporter { release, environment: config.app.env.name(), clock, is_passive }
}

/// What the HTTP side needs to know of the configuration.
fn http_settings(config: &Config, clock: &Clock) -> anyhow::Result<http::Settings> {
    let origins = config.http.cors_origins.iter();
    let origins =
        origins.map(|origin| origin.parse().context("CORS_ORIGINS is not a list of URLs"));
    Ok(http::Settings {
        request_timeout: Duration::from_secs(config.http.request_timeout_secs),
        read_timeout: Duration::from_secs(config.http.read_timeout_secs),
        body_timeout: Duration::from_secs(config.http.body_timeout_secs),
        large_bodies: Arc::new(Semaphore::new(http::LARGE_BODIES)),
        body_limit_bytes: config.http.body_limit_bytes,
        cors_origins: origins.collect::<Result<_, _>>()?,
        trusted_proxies: config.http.trusted_proxies.clone(),
        has_security_headers: config.flags.security_headers_enabled,
        env: config.app.env.name(),
        refuses_unverified_webhooks: config.app.env == Environment::Production
            && !config.flags.webhook_verify_all,
        providers: providers(&config.llm),
        started: clock.monotonic(),
    })
}

/// How often somebody may ask in a minute.
fn rates(config: &Config) -> http::Rates {
    let rates = &config.http.rates;
    http::Rates {
        key_per_minute: rates.key_per_minute,
        address_per_minute: rates.address_per_minute,
        checkout_per_minute: rates.checkout_per_minute,
        webhook_per_minute: rates.webhook_per_minute,
        are_on: config.flags.ratelimit_enabled,
    }
}

/// The language-model providers that can be called, in their order.
fn providers(config: &LlmConfig) -> Arc<[String]> {
    let has_key = |name: &&String| match name.as_str() {
        "groq" => !config.groq.api_key.is_empty(),
        "openai" => !config.openai.api_key.is_empty(),
        "anthropic" => !config.anthropic.api_key.is_empty(),
        "google" => !config.google.api_key.is_empty(),
        _ => false,
    };
    config.provider_priority.iter().filter(has_key).cloned().collect()
}
