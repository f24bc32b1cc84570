//! What a sandbox is started with; the defaults are usable test values.

use std::net::{Ipv4Addr, SocketAddr};

use url::Url;

/// The shared secret of webhooks when no target gives another one.
pub(crate) const DEFAULT_WEBHOOK_SECRET: &str = "sandbox-webhook-secret-2f7c1d9b4e8a6053";

/// How to start a [`Sandbox`](crate::Sandbox).
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Moyasar's secret key, the user name of Basic auth.
    pub secret_key: String,
    /// Moyasar's publishable key, which every route here refuses with 403.
    pub publishable_key: String,
    /// The project key that PostHog's batches must carry.
    pub posthog_key: String,
    /// Where webhooks go from the start. Without one they pile up in `held_webhooks`.
    pub webhook: Option<WebhookTarget>,
    /// Divides the waits between webhook retries: 60 makes a minute a second.
    pub time_scale: u32,
    /// How many deliveries, delivery attempts, PostHog events and Sentry items are remembered of each kind.
    pub ledger_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            secret_key: "sk_test_sandbox0123456789".to_owned(),
            publishable_key: "pk_test_sandbox0123456789".to_owned(),
            posthog_key: "phc_sandbox0123456789".to_owned(),
            webhook: None,
            time_scale: 60,
            ledger_limit: 20_000,
        }
    }
}

/// A webhook as the operator would register it at the provider's dashboard.
#[derive(Debug, Clone)]
pub struct WebhookTarget {
    /// Where events are posted.
    pub url: Url,
    /// The secret that every body repeats as `secret_token`.
    pub shared_secret: String,
}
