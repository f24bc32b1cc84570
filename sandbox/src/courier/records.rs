//! What is remembered of every delivery and every attempt at it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Response;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;

use crate::clock::millis;

/// How much of an answer an attempt remembers.
const REMEMBERED_BODY: usize = 2048;

/// What is being delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// An event to a registered webhook.
    Webhook,
    /// The one code that a new webhook must prove it received.
    Verification,
    /// A paid invoice to its `callback_url`.
    Callback,
    /// Any body that somebody made up.
    Forged,
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Another attempt will come.
    Pending,
    /// Answered with a 2xx.
    Delivered,
    /// Given up after its last attempt.
    Dropped,
    /// Lost on purpose, never sent.
    Lost,
    /// Kept here, because nobody is registered or its host is not this machine.
    Held,
}

/// One thing to deliver and every attempt at it.
#[derive(Debug, Clone, Serialize)]
pub struct Delivery {
    /// Its own name; a duplicate has another one.
    pub id: String,
    /// What it is.
    pub kind: DeliveryKind,
    /// The event's id, the same over retries and duplicates; the invoice's id for a callback.
    pub event_id: String,
    /// The event's name.
    pub event_type: String,
    /// Where it goes.
    pub url: Option<Url>,
    /// How it stands.
    pub status: DeliveryStatus,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
    #[serde(serialize_with = "as_json")]
    pub(super) body: Arc<RawValue>,
}

impl Delivery {
    /// The body as it was sent.
    pub fn body(&self) -> &str {
        self.body.get()
    }
}

fn as_json<S: Serializer>(body: &Arc<RawValue>, serializer: S) -> Result<S::Ok, S::Error> {
    body.as_ref().serialize(serializer)
}

/// One attempt, as `GET /v1/webhooks/attempts` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// Its own id.
    pub id: String,
    /// The webhook it went to; none for a callback or a forged body.
    pub webhook_id: Option<String>,
    /// The event, the same over retries.
    pub event_id: String,
    /// The event's name.
    pub event_type: String,
    /// 1 is the first attempt.
    pub retry_number: u32,
    /// `success` or `failed`.
    pub result: &'static str,
    /// What happened, in words.
    pub message: String,
    /// None when no answer came.
    pub response_code: Option<u16>,
    /// The answer's headers as a JSON text.
    pub response_headers: String,
    /// The beginning of the answer's body.
    pub response_body: String,
    /// When it was made.
    #[serde(serialize_with = "millis")]
    pub created_at: DateTime<Utc>,
    /// How long it took until the whole answer was there, or none; not on the wire.
    #[serde(skip)]
    pub took: Duration,
}

/// What a receiver answered to a body that was posted directly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body as text.
    pub body: String,
}

/// A callback that was not sent, because its host is not this machine.
#[derive(Debug, Clone, Serialize)]
pub struct HeldCallback {
    /// Where the invoice wants it.
    pub url: String,
    /// The paid invoice.
    pub body: Value,
}

/// What came back from one attempt.
pub(super) struct Received {
    pub(super) code: Option<u16>,
    pub(super) message: String,
    pub(super) headers: String,
    pub(super) body: String,
}

impl Received {
    pub(super) async fn read(response: Response) -> Self {
        let code = response.status().as_u16();
        let headers: serde_json::Map<String, Value> = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into())
            })
            .collect();
        let message = match code {
            200..=299 => "Webhook message was delivered successfully".to_owned(),
            _ => format!("The endpoint answered {code}"),
        };
        let body = response.text().await.unwrap_or_default();
        let body = body.chars().take(REMEMBERED_BODY).collect();
        Self { code: Some(code), message, headers: Value::Object(headers).to_string(), body }
    }

    pub(super) fn nothing(error: &reqwest::Error) -> Self {
        let message = if error.is_timeout() {
            "The endpoint did not answer in time"
        } else {
            "The endpoint could not be reached"
        };
        Self {
            code: None,
            message: message.to_owned(),
            headers: "{}".to_owned(),
            body: String::new(),
        }
    }
}
