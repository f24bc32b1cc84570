//! The person on call: posts what they are to be told to an address of their own.
//!
//! Like Sentry it has no breaker: what could not be told waits in Postgres, with its own growing pauses.

use std::time::Duration;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::clients::{ClientError, exchange, http_client};
use crate::clock::Clock;
use crate::config::AlertsConfig;

const CLIENT: &str = "alerts";

/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tells the person on call.
#[derive(Clone)]
pub(crate) struct Pager {
    http: reqwest::Client,
    /// Whoever knows it can write there.
    url: SecretString,
    clock: Clock,
}

impl Pager {
    /// A way to them; none where no address is set.
    pub fn new(config: &AlertsConfig, clock: Clock) -> anyhow::Result<Option<Self>> {
        let Some(url) = config.webhook_url.clone() else { return Ok(None) };
        let http = http_client(PATIENCE).context("no HTTP client for alerts")?;
        Ok(Some(Self { http, url, clock }))
    }

    /// Posts a message; after an error the same may be posted again.
    pub async fn post(&self, message: &impl Serialize) -> Result<(), ClientError> {
        let request = self.http.post(self.url.expose_secret()).json(message);
        exchange::send(CLIENT, &self.clock, request).await.map(drop)
    }
}
