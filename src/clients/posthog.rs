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

    /// What a call would be refused with at this moment. Asks nobody and changes nothing.
    pub fn refusal(&self) -> Option<ClientError> {
        self.breaker.refusal()
    }

    /// A read that costs nothing, to see whether PostHog answers: a refusal is an answer.
    pub async fn probe(&self) -> Result<(), ClientError> {
        let request = self.http.get(exchange::endpoint(&self.root, &["_health"]));
        match self.exchange(request).await {
            Err(error) if error.is_answer() => Ok(()),
            answer => answer,
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<(), ClientError> {
        self.breaker.call(exchange::send(CLIENT, &self.clock, request)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clients::breaker::State;
    use crate::clients::breakers::Breakers;
    use crate::clients::stub::{Reply, Stub, answer};
    use crate::config::BreakerConfig;

    const KEY: &str = "phc_a-key-of-nobody";

    fn config(host: Url) -> PosthogConfig {
        PosthogConfig {
            host,
            api_key: Some(KEY.into()),
            enabled: true,
            timeout_secs: 10,
            batch_size: 100,
            breaker: BreakerConfig {
                consecutive_failures: 5,
                window_secs: 60,
                window_calls: 0,
                minimum_calls: 10,
                failure_percent: 50,
                slow_percent: 80,
                slow_call_ms: 5_000,
                cooldown_secs: 60,
                max_cooldown_secs: 300,
                probe_lease_secs: 30,
            },
        }
    }

    fn build(config: &PosthogConfig) -> Option<Posthog> {
        let clock = Clock::default();
        let breaker = Breakers::new(clock.clone(), false).add(CLIENT, config.breaker);
        Posthog::new(config, breaker, clock).unwrap()
    }

    fn posthog(stub: &Stub) -> Posthog {
        build(&config(stub.url.join("/").unwrap())).unwrap()
    }

    async fn send_to(stub: &Stub) -> Result<BatchOutcome, ClientError> {
        let properties = json!({ "plan": "starter", "amount_halalas": 99_000 });
        let event = FunnelEventOnWire {
            event: "payment_succeeded",
            uuid: "01970000-0000-7000-8000-000000000001".parse().unwrap(),
            distinct_id: "visitor",
            timestamp: "2026-11-20T09:00:00.123456Z".parse().unwrap(),
            properties: &properties,
        };
        posthog(stub).send_batch(&[event]).await
    }

    #[tokio::test]
    async fn a_batch_carries_the_key_and_every_event_as_it_was_made() {
        let stub = Stub::json("200 OK", r#"{"status":1}"#);
        assert_eq!(send_to(&stub).await.unwrap(), BatchOutcome::Accepted);
        let requests = stub.requests();
        let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /batch/ HTTP/1.1\r\n"), "{head}");
        assert_eq!(
            serde_json::from_str::<Value>(body).unwrap(),
            json!({
                "api_key": KEY,
                "batch": [{
                    "event": "payment_succeeded",
                    "uuid": "01970000-0000-7000-8000-000000000001",
                    "distinct_id": "visitor",
                    "timestamp": "2026-11-20T09:00:00.123456Z",
                    "properties": { "plan": "starter", "amount_halalas": 99_000 },
                }],
            })
        );
    }

    #[tokio::test]
    async fn any_success_means_that_all_were_accepted_whatever_its_body() {
        let half = b"HTTP/1.1 202 Accepted\r\ncontent-length: 90\r\n\r\n{".to_vec();
        let replies = [
            answer("200 OK", "", "<html>"),
            answer("204 No Content", "", ""),
            answer("200 OK", "", &" ".repeat(3_000_000)),
            Reply::Bytes(half),
        ];
        for reply in replies {
            let stub = Stub::new(vec![reply]);
            assert_eq!(send_to(&stub).await.unwrap(), BatchOutcome::Accepted);
        }
    }

    #[tokio::test]
    async fn a_batch_that_is_bad_or_too_large_is_refused() {
        for status in ["400 Bad Request", "413 Payload Too Large"] {
            let stub = Stub::json(status, "{}");
            assert_eq!(send_to(&stub).await.unwrap(), BatchOutcome::Refused);
        }
    }

    #[tokio::test]
    async fn anything_else_says_nothing_about_the_events() {
        for (status, class) in [
            ("401 Unauthorized", "auth"),
            ("404 Not Found", "refused"),
            ("429 Too Many Requests", "rate_limited"),
            ("302 Found", "refused"),
            ("500 Oh", "server_error"),
        ] {
            assert_eq!(send_to(&Stub::json(status, "{}")).await.unwrap_err().class(), class);
        }
        let stub = Stub::new(vec![Reply::Reset]);
        assert_eq!(send_to(&stub).await.unwrap_err().class(), "unreachable");
    }

    #[tokio::test]
    async fn the_probe_takes_every_answer_below_500_for_life() {
        for status in ["200 OK", "302 Found", "401 Unauthorized", "404 Not Found"] {
            let stub = Stub::json(status, "{}");
            posthog(&stub).probe().await.unwrap();
            assert!(stub.requests()[0].starts_with("GET /_health HTTP/1.1\r\n"));
        }
        for status in ["500 Oh", "503 Unavailable"] {
            let error = posthog(&Stub::json(status, "{}")).probe().await.unwrap_err();
            assert_eq!(error.class(), "server_error");
        }
        let error = posthog(&Stub::new(vec![Reply::Reset])).probe().await.unwrap_err();
        assert_eq!(error.class(), "unreachable");
    }

    #[tokio::test]
    async fn the_breaker_stands_before_every_call() {
        let stub = Stub::new((0..6).map(|_| answer("502 Bad Gateway", "", "")).collect());
        let posthog = posthog(&stub);
        for _ in 0..3 {
            assert!(posthog.send_batch(&[]).await.is_err());
        }
        for _ in 0..2 {
            assert!(posthog.probe().await.is_err());
        }
        assert_eq!(posthog.breaker.snapshot().state, State::Open);
        assert_eq!(posthog.send_batch(&[]).await.unwrap_err().class(), "breaker_open");
        assert_eq!(posthog.probe().await.unwrap_err().class(), "breaker_open");
        assert_eq!(stub.requests().len(), 5);
    }

    #[test]
    fn switched_off_or_without_a_key_there_is_no_client() {
        let config = config("https://eu.i.posthog.com/".parse().unwrap());
        assert!(build(&config).is_some());
        assert!(build(&PosthogConfig { enabled: false, ..config.clone() }).is_none());
        assert!(build(&PosthogConfig { api_key: None, ..config }).is_none());
    }
}
