//! Settings: what the process needs to know before it starts, one struct per concern.
//!
//! [`variables`] is the one table of environment names, [`kinds`] how their text is understood,
//! [`Sources`] where it comes from; [`inspect`] puts the layers together and tells everything that
//! is wrong with them, [`load`] answers settings that may be used, [`mod@reference`] documents them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

pub mod kinds;
pub mod reference;
pub mod variables;

mod check;
mod fields;
mod layers;
mod limits;
mod load;
mod secrets;
mod sources;
#[cfg(test)]
mod tests;

pub use check::Problem as ConfigProblem;
pub use layers::{Origin, Setting};
pub use load::{Inspection, Loaded, inspect, load};
pub use sources::Sources;

/// Everything the process needs to know before it starts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who we are and where we listen.
    pub app: AppConfig,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The Postgres database.
    pub database: DatabaseConfig,
    /// The Redis instance that holds the dead-letter queues.
    pub redis: RedisConfig,
    /// Who may ask.
    pub auth: AuthConfig,
    /// The payment provider.
    pub moyasar: MoyasarConfig,
    /// Product analytics.
    pub posthog: PosthogConfig,
    /// Error reports.
    pub sentry: SentryConfig,
    /// The language-model providers.
    pub llm: LlmConfig,
    /// The health checks.
    pub health: HealthConfig,
    /// Buying a plan.
    pub checkout: CheckoutConfig,
    /// The background loops.
    pub jobs: JobsConfig,
    /// The dead-letter queues.
    pub dlq: DlqConfig,
    /// Messages to customers.
    pub outbound: OutboundConfig,
    /// Messages to the person on call.
    pub alerts: AlertsConfig,
    /// Switches.
    pub flags: FlagsConfig,
}

/// Where the process runs. Decides how strict the checks are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// A laptop.
    Development,
    /// A test run.
    Test,
    /// Like production, without customers.
    Staging,
    /// Customers' money.
    Production,
}

impl Environment {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Development, Self::Test, Self::Staging, Self::Production];

    /// Whether settings that a laptop may lack or make up must be given, and given well.
    pub const fn is_strict(self) -> bool {
        match self {
            Self::Development | Self::Test => false,
            Self::Staging | Self::Production => true,
        }
    }

    /// The name in `APP_ENV`, in file names and in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Test => "test",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// Who we are and where we listen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppConfig {
    /// Where the process runs.
    pub env: Environment,
    /// Address of the public listener.
    pub host: IpAddr,
    /// Port of the public listener.
    pub port: u16,
    /// Root of our public URLs, as customers and Moyasar see it.
    pub url: Url,
    /// What is logged, in `tracing` filter syntax.
    pub log_level: String,
    /// Where `/metrics` is served without a key; empty switches it off.
    #[serde(deserialize_with = "fields::empty_as_none")]
    pub metrics_addr: Option<SocketAddr>,
}

/// The HTTP server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// After how long a request is answered 504.
    pub request_timeout_secs: u64,
    /// How long a client may take to send its request head.
    pub header_timeout_secs: u64,
    /// How long a client may pause between two pieces of its body, or of our answer.
    pub read_timeout_secs: u64,
    /// How long a client may take to send its whole body.
    pub body_timeout_secs: u64,
    /// Connections served at once. When there are more, those that only wait give way.
    pub max_connections: usize,
    /// Largest request body.
    pub body_limit_bytes: usize,
    /// How long requests in flight get after SIGTERM.
    pub drain_secs: u64,
    /// How long the whole shutdown may take.
    pub shutdown_secs: u64,
    /// Origins that browsers may call us from.
    #[serde(deserialize_with = "fields::comma_separated")]
    pub cors_origins: Vec<String>,
    /// Peers whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "fields::networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// How often somebody may ask.
    pub rates: RatesConfig,
}

/// The rate limits.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesConfig {
    /// Requests in a minute of one recognised key or token.
    pub key_per_minute: u32,
    /// Requests in a minute from one client address without a key.
    pub address_per_minute: u32,
    /// Checkouts in a minute from one client address.
    pub checkout_per_minute: u32,
    /// Genuine webhooks in a minute, and refused ones from one client address.
    pub webhook_per_minute: u32,
}

/// The Postgres database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://…`, `postgresql://…` or `postgresql+asyncpg://…`.
    pub url: SecretString,
    /// Size of the connection pool.
    pub max_connections: u32,
}

/// The Redis instance that holds the dead-letter queues.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://…`, `rediss://…` or `redis+unix:///path`.
    pub url: SecretString,
}

/// Who may ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Signs and verifies our JWTs.
    pub jwt_secret_key: SecretString,
    /// The other valid key while the first is being replaced.
    #[serde(deserialize_with = "fields::empty_as_no_secret")]
    pub jwt_secret_key_next: Option<SecretString>,
    /// Must be `HS256`.
    pub jwt_algorithm: String,
    /// Keys of scope `service`.
    #[serde(deserialize_with = "fields::secret_list")]
    pub api_keys: Vec<SecretString>,
    /// Keys of scope `admin:read`.
    #[serde(deserialize_with = "fields::secret_list")]
    pub admin_read_api_keys: Vec<SecretString>,
    /// Keys of scope `admin`.
    #[serde(deserialize_with = "fields::secret_list")]
    pub admin_api_keys: Vec<SecretString>,
}

/// When to stop calling a failing service.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerConfig {
    /// Consecutive failures that open the breaker.
    pub consecutive_failures: u32,
    /// Length of the sliding window.
    pub window_secs: u64,
    /// At most so many of the newest calls count, however young the others are; 0: all that are young
    /// enough.
    pub window_calls: u32,
    /// Calls in the window below which rates say nothing.
    pub minimum_calls: u32,
    /// Share of failed calls in the window that opens the breaker, in percent.
    pub failure_percent: u32,
    /// Share of slow calls in the window that opens the breaker, in percent.
    pub slow_percent: u32,
    /// A call that takes longer is slow.
    pub slow_call_ms: u64,
    /// The first cool-down.
    pub cooldown_secs: u64,
    /// The longest cool-down, and the longest `Retry-After` that is honoured.
    pub max_cooldown_secs: u64,
    /// After how long a probe that never reported is given up.
    pub probe_lease_secs: u64,
}

/// The payment provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoyasarConfig {
    /// Root of the API, version included.
    pub base_url: Url,
    /// API key, sent as the Basic-auth user name; without one nothing can be sold.
    #[serde(deserialize_with = "fields::empty_as_no_secret")]
    pub secret_key: Option<SecretString>,
    /// Key for browsers.
    #[serde(deserialize_with = "fields::empty_as_none")]
    pub publishable_key: Option<String>,
    /// Shared secret that Moyasar repeats in every webhook body; without one every webhook is refused.
    #[serde(deserialize_with = "fields::empty_as_no_secret")]
    pub webhook_secret: Option<SecretString>,
    /// The other valid secret while the first is being replaced.
    #[serde(deserialize_with = "fields::empty_as_no_secret")]
    pub webhook_secret_next: Option<SecretString>,
    /// How long one call may take.
    pub timeout_secs: u64,
    /// When to stop calling it.
    pub breaker: BreakerConfig,
}

/// Product analytics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PosthogConfig {
    /// Root of the ingestion API.
    pub host: Url,
    /// Project key; without one events are kept as skipped.
    #[serde(deserialize_with = "fields::empty_as_no_secret")]
    pub api_key: Option<SecretString>,
    /// Whether events are sent at all.
    pub enabled: bool,
    /// How long one batch may take.
    pub timeout_secs: u64,
    /// Events per batch.
    pub batch_size: u32,
    /// When to stop calling it.
    pub breaker: BreakerConfig,
}

/// Error reports.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentryConfig {
    /// Where reports go; without one none are sent.
    #[serde(deserialize_with = "fields::empty_as_no_secret")]
    pub dsn: Option<SecretString>,
    /// Share of requests that are traced, 0 to 1.
    pub traces_sample_rate: f32,
}

/// The language-model providers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmConfig {
    /// The chain, first choice first.
    #[serde(deserialize_with = "fields::comma_separated")]
    pub provider_priority: Vec<String>,
    /// How long a whole answer may take.
    pub timeout_secs: u64,
    /// What may be spent in a day, as a decimal number of US dollars.
    pub daily_budget_usd: String,
    /// `GROQ_*`.
    pub groq: LlmProviderConfig,
    /// `OPENAI_*`.
    pub openai: LlmProviderConfig,
    /// `ANTHROPIC_*`.
    pub anthropic: LlmProviderConfig,
    /// `GOOGLE_*`.
    pub google: LlmProviderConfig,
}

/// One language-model provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlmProviderConfig {
    /// A pool of keys; without one the provider is not called.
    #[serde(deserialize_with = "fields::secret_list")]
    pub api_key: Vec<SecretString>,
    /// Root of the API.
    pub base_url: Url,
    /// The model asked for.
    pub model: String,
}

/// The health checks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// Time between two rounds of checks.
    pub interval_secs: u64,
    /// How long one check may take.
    pub timeout_ms: u64,
    /// Idle time after which a service that we do not own is asked for a free read.
    pub idle_probe_secs: u64,
}

/// Buying a plan.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckoutConfig {
    /// Checkouts that visitors may start for one e-mail address in an hour.
    pub per_email_hourly: u32,
    /// Age at which the provider is asked what became of a checkout of which nobody has heard.
    pub resolve_after_secs: u32,
}

/// The background loops.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobsConfig {
    /// Longest time between two looks at a table, when nothing rings.
    pub tick_ms: u64,
    /// Webhook events settled at the same time.
    pub event_concurrency: usize,
    /// How long an event or outbox row belongs to the instance that claimed it.
    pub lease_secs: u32,
}

/// The dead-letter queues.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DlqConfig {
    /// Attempts after which an entry is dead.
    pub max_retries: u32,
    /// Entries taken by one automatic replay.
    pub drain_batch_size: u32,
}

/// Messages to customers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundConfig {
    /// WhatsApp gateway account.
    #[serde(deserialize_with = "fields::empty_as_none")]
    pub ultramsg_instance_id: Option<String>,
    /// WhatsApp gateway token.
    #[serde(deserialize_with = "fields::empty_as_no_secret")]
    pub ultramsg_token: Option<SecretString>,
    /// Mail server.
    #[serde(deserialize_with = "fields::empty_as_none")]
    pub smtp_host: Option<String>,
    /// Port of the mail server.
    pub smtp_port: u16,
    /// Mail account.
    #[serde(deserialize_with = "fields::empty_as_none")]
    pub smtp_user: Option<String>,
    /// Password of the mail account.
    #[serde(deserialize_with = "fields::empty_as_no_secret")]
    pub smtp_password: Option<SecretString>,
}

/// Messages to the person on call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertsConfig {
    /// Where alerts are posted; the URL itself is a secret.
    #[serde(deserialize_with = "fields::empty_as_no_secret")]
    pub webhook_url: Option<SecretString>,
    /// Where alerts are mailed.
    #[serde(deserialize_with = "fields::empty_as_none")]
    pub email: Option<String>,
}

/// Switches, each `true` by default.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "five independent switches, named by the client")]
pub struct FlagsConfig {
    /// Webhooks are processed after the answer; `false` processes them inside the request.
    pub new_queue_enabled: bool,
    /// Security headers on every answer.
    pub security_headers_enabled: bool,
    /// Rate limits.
    pub ratelimit_enabled: bool,
    /// Webhooks are verified; never switched off in production.
    pub webhook_verify_all: bool,
    /// The limit on checkouts that visitors start for one e-mail address.
    pub abuse_guards_enabled: bool,
}
