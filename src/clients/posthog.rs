//! Product analytics: sends batches of funnel events.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use crate::clients::breaker::Breaker;
use crate::clients::{ClientError, exchange, http_client};
use crate::clock::Clock;
use crate::config::PosthogConfig;

/// The name of its breaker.
pub(crate) const CLIENT: &str = "posthog";

/// Sends to PostHog, each call behind its breaker.
#[derive(Clone, Debug)]
pub(crate) struct Posthog {
    http: reqwest::Client,
    root: Url,
    api_key: SecretString,
    breaker: Arc<Breaker>,
    clock: Clock,
}

/// One event. Sent again it is the same to the last byte, so that PostHog can tell.
#[derive(Debug, Serialize)]
pub(crate) struct FunnelEventOnWire<'a> {
    pub event: &'a str,
    pub uuid: Uuid,
    pub distinct_id: &'a str,
    pub timestamp: DateTime<Utc>,
    pub properties: &'a Value,
}

/// What PostHog made of a batch that reached it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum BatchOutcome {
    /// It took every event.
    Accepted,
    /// It took none, because of at least one of them or their size; sending the same again is in
    /// vain, halves may pass.
    Refused,
}

#[derive(Serialize)]
struct Batch<'a> {
    api_key: &'a str,
    batch: &'a [FunnelEventOnWire<'a>],
}

impl Posthog {
    /// A client for the configured project; none when switched off or without a key.
    pub fn new(
        config: &PosthogConfig,
        breaker: Arc<Breaker>,
        clock: Clock,
    ) -> anyhow::Result<Option<Self>> {
        let Some(api_key) = config.api_key.clone().filter(|_| config.enabled) else {
            return Ok(None);
        };
        let http = http_client(Duration::from_secs(config.timeout_secs))
            .context("no HTTP client for PostHog")?;
        Ok(Some(Self { http, root: config.host.clone(), api_key, breaker, clock }))
    }

    /// Sends the events in one request. After an error the same events may be sent again.
    pub async fn send_batch(
        &self,
        events: &[FunnelEventOnWire<'_>],
    ) -> Result<BatchOutcome, ClientError> {
        let batch = Batch { api_key: self.api_key.expose_secret(), batch: events };
        // The trailing slash is part of the route.
        let request = self.http.post(exchange::endpoint(&self.root, &["batch", ""])).json(&batch);
        match self.exchange(request).await {
            Ok(()) => Ok(BatchOutcome::Accepted),
            Err(ClientError::Status {
                status: StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE,
                ..
            }) => Ok(BatchOutcome::Refused),
            Err(error) => Err(error),
        }
    }

    /// A read that costs nothing, to see whether PostHog answers: a refusal is an answer.
    pub async fn probe(&self) -> Result<(), ClientError> {
        let request = self.http.get(exchange::endpoint(&self.root, &["_health"]));
        match self.exchange(request).await {
            Err(error @ ClientError::Status { .. }) if !error.is_outage() => Ok(()),
            answer => answer,
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<(), ClientError> {
        let exchange = async {
            let response = exchange::send(CLIENT, &self.clock, request).await?;
            exchange::drain(response).await;
            Ok(())
        };
        self.breaker.call(exchange).await
    }
}
