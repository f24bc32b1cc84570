//! PostHog on the wire: `/batch/`, strict about what it takes, and what it received with duplicates visible.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::clock::millis;
use crate::shelf::Shelf;
use crate::world::{World, lock};

/// An event that was received, once or more often.
#[derive(Debug, Clone, Serialize)]
pub struct PosthogEvent {
    /// Its name.
    pub event: String,
    /// Its identity: the same one again is the same event.
    pub uuid: String,
    /// Whose event it is.
    pub distinct_id: String,
    /// When it happened, as it was sent.
    pub timestamp: String,
    /// What else was said.
    pub properties: Map<String, Value>,
    /// How often it was received.
    pub received: u32,
    /// Whether a later copy differed from the first, which no copy should.
    pub is_changed: bool,
    /// When the first copy arrived.
    #[serde(serialize_with = "millis")]
    pub first_received_at: DateTime<Utc>,
}

/// What arrived so far.
#[derive(Debug)]
pub(crate) struct Posthog {
    events: Shelf<PosthogEvent>,
    duplicates: u64,
}

impl Posthog {
    pub(crate) fn new(limit: usize) -> Self {
        Self { events: Shelf::bounded(limit), duplicates: 0 }
    }

    pub(crate) fn events(&self) -> Vec<PosthogEvent> {
        self.events.oldest_first().cloned().collect()
    }

    /// Distinct events, and copies beyond the first.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.events.total(), self.duplicates)
    }

    fn receive(&mut self, item: Item, now: DateTime<Utc>) {
        let uuid = item.uuid.to_string();
        if let Some(known) = self.events.get_mut(&uuid) {
            known.received += 1;
            known.is_changed |= known.event != item.event
                || known.distinct_id != item.distinct_id
                || known.timestamp != item.timestamp
                || known.properties != item.properties;
            self.duplicates += 1;
            return;
        }
        let event = PosthogEvent {
            event: item.event,
            uuid: uuid.clone(),
            distinct_id: item.distinct_id,
            timestamp: item.timestamp,
            properties: item.properties,
            received: 1,
            is_changed: false,
            first_received_at: now,
        };
        self.events.insert(&uuid, event);
    }
}

#[derive(Deserialize)]
struct Batch {
    api_key: Option<String>,
    batch: Vec<Value>,
}

#[derive(Deserialize)]
struct Item {
    event: String,
    uuid: Uuid,
    distinct_id: String,
    timestamp: String,
    properties: Map<String, Value>,
}

impl Item {
    fn parse(value: Value) -> Result<Self, String> {
        let item: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if item.event.trim().is_empty() {
            return Err("event is empty".to_owned());
        }
        if item.distinct_id.trim().is_empty() {
            return Err("distinct_id is empty".to_owned());
        }
        if DateTime::parse_from_rfc3339(&item.timestamp).is_err() {
            return Err("timestamp is not ISO 8601".to_owned());
        }
        Ok(item)
    }
}

pub(crate) fn routes() -> Router<World> {
    Router::new()
        .route("/batch", post(capture_batch))
        .route("/batch/", post(capture_batch))
        .route("/_health", get(async || "ok"))
}

async fn capture_batch(State(world): State<World>, body: Bytes) -> Response {
    let batch: Batch = match serde_json::from_slice(&body) {
        Ok(batch) => batch,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if batch.api_key.as_deref() != Some(world.options.posthog_key.as_str()) {
        return refusal(StatusCode::UNAUTHORIZED, "Project API key invalid.");
    }
    let items: Result<Vec<Item>, String> = batch
        .batch
        .into_iter()
        .enumerate()
        .map(|(place, item)| Item::parse(item).map_err(|error| format!("item {place}: {error}")))
        .collect();
    match items {
        Ok(items) if items.is_empty() => refusal(StatusCode::BAD_REQUEST, "The batch is empty."),
        Ok(items) => {
            let now = world.clock.now();
            let mut posthog = lock(&world.posthog);
            for item in items {
                posthog.receive(item, now);
            }
            Json(json!({"status": 1})).into_response()
        }
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error),
    }
}

/// The body of a refusal; a batch is taken whole or not at all.
pub(crate) fn refusal(status: StatusCode, detail: &str) -> Response {
    let (kind, code) = match status.as_u16() {
        401 => ("authentication_error", "invalid_api_key"),
        429 => ("throttled_error", "rate_limit_exceeded"),
        500..=599 => ("server_error", "error"),
        _ => ("validation_error", "invalid_payload"),
    };
    (status, Json(json!({"type": kind, "code": code, "detail": detail, "attr": null})))
        .into_response()
}
