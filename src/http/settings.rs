//! What the HTTP side needs to know: chosen by `app` from the configuration, which this room does
//! not read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use ipnet::IpNet;
use tokio::sync::Semaphore;

/// How we answer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// After how long a request is answered 504.
    pub request_timeout: Duration,
    /// How long a client may pause between two pieces of its body.
    pub read_timeout: Duration,
    /// How long a client may take to send its whole body.
    pub body_timeout: Duration,
    /// Largest request body.
    pub body_limit_bytes: usize,
    /// Places for bodies that are not small: what all of them together may take of our memory.
    pub large_bodies: Arc<Semaphore>,
    /// Origins that browsers may call us from.
    pub cors_origins: Vec<HeaderValue>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether answers carry security headers.
    pub has_security_headers: bool,
    /// Name of the environment we run in.
    pub env: &'static str,
    /// Whether somebody tried, in vain, to switch the verification of webhooks off.
    pub refuses_unverified_webhooks: bool,
    /// Language-model providers that have a key, in the order they are called.
    pub providers: Arc<[String]>,
    /// When the service was wired, by the clock's monotonic hand.
    pub started: Instant,
}

/// How often somebody may ask in a minute.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// A caller that we recognised.
    pub key_per_minute: u32,
    /// Everybody else, by address.
    pub address_per_minute: u32,
    /// Purchases, by address.
    pub checkout_per_minute: u32,
    /// Genuine webhooks together, and from each address refused ones.
    pub webhook_per_minute: u32,
    /// Whether anything is counted at all.
    pub are_on: bool,
}
