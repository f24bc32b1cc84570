//! The one table of environment names: it drives the reading, `.env.example` and the documentation.

use super::kinds::Kind;

/// One environment variable and the setting it fills.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// The name in the environment, in `.env` and in the credentials folder.
    pub name: &'static str,
    /// Older names that still work: the first one set wins; those of a list are its parts, in order.
    pub older: &'static [&'static str],
    /// The setting, as a path into [`super::Config`].
    pub key: &'static str,
    /// How its text is understood.
    pub kind: Kind,
    /// Whether production refuses to start without it.
    pub is_required: bool,
    /// What it is for, in one sentence.
    pub about: &'static str,
}

const fn optional(
    name: &'static str,
    key: &'static str,
    kind: Kind,
    about: &'static str,
) -> Variable {
    Variable { name, older: &[], key, kind, is_required: false, about }
}

const fn required(
    name: &'static str,
    key: &'static str,
    kind: Kind,
    about: &'static str,
) -> Variable {
    Variable { name, older: &[], key, kind, is_required: true, about }
}

const fn renamed(older: &'static [&'static str], variable: Variable) -> Variable {
    Variable { older, ..variable }
}

use Kind::{
    Address, Addresses, AppEnv, Decimal, Integer, List, Listener, LogFilter, Origins, PostgresUrl,
    PublishableKey, RedisUrl, Secret, SecretList, SecretUrl, SentryDsn, Share, Switch, Text, Url,
};

/// Every variable that the service reads, in the order of `.env.example`.
#[rustfmt::skip]
pub const VARIABLES: &[Variable] = &[
    renamed(&["ENVIRONMENT"], optional("APP_ENV", "app.env", AppEnv, "development, test, staging or production; a release build has no default.")),
    optional("APP_HOST", "app.host", Address, "Address of the public listener."),
    renamed(&["PORT"], optional("APP_PORT", "app.port", Integer, "Port of the public listener.")),
    optional("APP_URL", "app.url", Url, "Root of our public URLs, as customers and Moyasar see it."),
    optional("APP_LOG_LEVEL", "app.log_level", LogFilter, "What is logged: error, warn, info, debug, trace or a tracing filter."),
    optional("METRICS_ADDR", "app.metrics_addr", Listener, "Where /metrics is served without a key; empty switches it off."),
    required("DATABASE_URL", "database.url", PostgresUrl, "The Postgres database; the role should not be a superuser."),
    optional("DATABASE_MAX_CONNECTIONS", "database.max_connections", Integer, "Size of the connection pool."),
    required("REDIS_URL", "redis.url", RedisUrl, "The Redis instance; AOF with appendfsync always, maxmemory-policy noeviction."),
    required("JWT_SECRET_KEY", "auth.jwt_secret_key", Secret, "Signs and verifies our JWTs; at least 32 random bytes."),
    optional("JWT_SECRET_KEY_NEXT", "auth.jwt_secret_key_next", Secret, "The other valid JWT key during a rotation."),
    optional("JWT_ALGORITHM", "auth.jwt_algorithm", Text, "HS256; anything else stops the start."),
    optional("API_KEYS", "auth.api_keys", SecretList, "Keys of scope service, comma separated."),
    optional("ADMIN_READ_API_KEYS", "auth.admin_read_api_keys", SecretList, "Keys of scope admin:read, comma separated."),
    required("ADMIN_API_KEYS", "auth.admin_api_keys", SecretList, "Keys of scope admin, comma separated."),
    optional("CORS_ORIGINS", "http.cors_origins", Origins, "Origins that browsers may call us from."),
    optional("TRUSTED_PROXIES", "http.trusted_proxies", Addresses, "Peers whose X-Forwarded-For is believed: addresses and ranges such as 203.0.113.0/24."),
    optional("RATELIMIT_KEY_PER_MINUTE", "http.rates.key_per_minute", Integer, "Requests in a minute of one recognised key or token."),
    optional("RATELIMIT_ADDRESS_PER_MINUTE", "http.rates.address_per_minute", Integer, "Requests in a minute from one client address without a key."),
    optional("RATELIMIT_CHECKOUT_PER_MINUTE", "http.rates.checkout_per_minute", Integer, "Checkouts in a minute from one client address."),
    optional("RATELIMIT_WEBHOOK_PER_MINUTE", "http.rates.webhook_per_minute", Integer, "Genuine webhooks in a minute, and refused ones from one client address."),
    optional("CHECKOUTS_PER_EMAIL_HOURLY", "checkout.per_email_hourly", Integer, "Checkouts that visitors may start for one e-mail address in an hour."),
    required("MOYASAR_SECRET_KEY", "moyasar.secret_key", Secret, "API key at Moyasar; sk_live_ takes real money."),
    optional("MOYASAR_PUBLISHABLE_KEY", "moyasar.publishable_key", PublishableKey, "Key for browsers."),
    required("MOYASAR_WEBHOOK_SECRET", "moyasar.webhook_secret", Secret, "Shared secret that Moyasar repeats in every webhook body."),
    optional("MOYASAR_WEBHOOK_SECRET_NEXT", "moyasar.webhook_secret_next", Secret, "The other valid webhook secret during a rotation."),
    optional("MOYASAR_BASE_URL", "moyasar.base_url", Url, "Root of Moyasar's API."),
    optional("POSTHOG_API_KEY", "posthog.api_key", Secret, "PostHog project key; without one events are kept as skipped."),
    optional("POSTHOG_HOST", "posthog.host", Url, "Root of PostHog's ingestion API."),
    optional("POSTHOG_ENABLED", "posthog.enabled", Switch, "Whether funnel events are sent."),
    optional("SENTRY_DSN", "sentry.dsn", SentryDsn, "Where error reports go; without one none are sent."),
    optional("SENTRY_TRACES_SAMPLE_RATE", "sentry.traces_sample_rate", Share, "Share of requests that are traced, 0 to 1."),
    renamed(&["LLM_PRIMARY_PROVIDER", "LLM_FALLBACK_PROVIDER"], optional("LLM_PROVIDER_PRIORITY", "llm.provider_priority", List, "The whole chain of providers, first choice first.")),
    optional("LLM_TIMEOUT", "llm.timeout_secs", Integer, "Seconds a whole answer may take."),
    optional("LLM_DAILY_BUDGET_USD", "llm.daily_budget_usd", Decimal, "What may be spent in a day, in US dollars."),
    optional("GROQ_API_KEY", "llm.groq.api_key", SecretList, "Pool of Groq keys, comma separated."),
    optional("GROQ_BASE_URL", "llm.groq.base_url", Url, "Root of Groq's API."),
    optional("GROQ_MODEL", "llm.groq.model", Text, "Model asked for at Groq."),
    optional("OPENAI_API_KEY", "llm.openai.api_key", SecretList, "Pool of OpenAI keys, comma separated."),
    optional("OPENAI_BASE_URL", "llm.openai.base_url", Url, "Root of OpenAI's API."),
    optional("OPENAI_MODEL", "llm.openai.model", Text, "Model asked for at OpenAI."),
    optional("ANTHROPIC_API_KEY", "llm.anthropic.api_key", SecretList, "Pool of Anthropic keys, comma separated."),
    optional("ANTHROPIC_BASE_URL", "llm.anthropic.base_url", Url, "Root of Anthropic's API."),
    optional("ANTHROPIC_MODEL", "llm.anthropic.model", Text, "Model asked for at Anthropic."),
    optional("GOOGLE_API_KEY", "llm.google.api_key", SecretList, "Pool of Google keys, comma separated."),
    optional("GOOGLE_BASE_URL", "llm.google.base_url", Url, "Root of Google's API."),
    optional("GOOGLE_MODEL", "llm.google.model", Text, "Model asked for at Google."),
    optional("DLQ_MAX_RETRIES", "dlq.max_retries", Integer, "Attempts after which a dead letter is dead."),
    optional("DLQ_DRAIN_BATCH_SIZE", "dlq.drain_batch_size", Integer, "Dead letters taken by one automatic replay."),
    optional("ULTRAMSG_INSTANCE_ID", "outbound.ultramsg_instance_id", Text, "WhatsApp gateway account."),
    optional("ULTRAMSG_TOKEN", "outbound.ultramsg_token", Secret, "WhatsApp gateway token."),
    optional("SMTP_HOST", "outbound.smtp_host", Text, "Mail server."),
    optional("SMTP_PORT", "outbound.smtp_port", Integer, "Port of the mail server."),
    optional("SMTP_USER", "outbound.smtp_user", Text, "Mail account."),
    optional("SMTP_PASSWORD", "outbound.smtp_password", Secret, "Password of the mail account."),
    optional("ALERT_WEBHOOK_URL", "alerts.webhook_url", SecretUrl, "Where alerts are posted."),
    optional("ALERT_EMAIL", "alerts.email", Text, "Where alerts are mailed."),
    optional("NEW_QUEUE_ENABLED", "flags.new_queue_enabled", Switch, "false processes webhooks inside the request."),
    optional("SECURITY_HEADERS_ENABLED", "flags.security_headers_enabled", Switch, "Security headers on every answer."),
    optional("RATELIMIT_ENABLED", "flags.ratelimit_enabled", Switch, "Rate limits."),
    optional("WEBHOOK_VERIFY_ALL", "flags.webhook_verify_all", Switch, "Webhooks are verified; production refuses false."),
    optional("ABUSE_GUARDS_ENABLED", "flags.abuse_guards_enabled", Switch, "The limit on checkouts that visitors start for one e-mail address."),
];

/// The variable that fills this setting, if one does.
pub fn of_key(key: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.key == key)
}
