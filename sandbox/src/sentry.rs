//! Sentry on the wire: the envelope endpoint, and what it received.

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};
use uuid::Uuid;

use crate::shelf::Shelf;
use crate::world::{World, lock};

/// The key in the sandbox's DSN.
pub(crate) const PUBLIC_KEY: &str = "5a4d3c2b1a0f4e6d8c7b9a8f7e6d5c4b";
/// The project in the sandbox's DSN.
pub(crate) const PROJECT: &str = "1";

/// One item of an envelope.
#[derive(Debug, Clone, Serialize)]
pub struct SentryItem {
    /// The envelope's event, if it has one.
    pub event_id: Option<String>,
    /// `event`, `transaction`, `session`, …
    pub kind: String,
    /// The item itself; null when it is not JSON.
    pub payload: Value,
}

/// What arrived so far.
#[derive(Debug)]
pub(crate) struct SentryInbox {
    items: Shelf<SentryItem>,
}

impl SentryInbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self { items: Shelf::bounded(limit) }
    }

    pub(crate) fn items(&self) -> Vec<SentryItem> {
        self.items.oldest_first().cloned().collect()
    }

    pub(crate) fn total(&self) -> u64 {
        self.items.total()
    }
}

pub(crate) fn routes() -> Router<World> {
    Router::new()
        .route("/api/{project}/envelope/", post(store_envelope))
        .route("/api/{project}/envelope", post(store_envelope))
}

async fn store_envelope(
    State(world): State<World>,
    Path(project): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((header, items)) = parse(&body) else {
        return refusal(StatusCode::BAD_REQUEST, "invalid envelope");
    };
    let key = key_of(&headers, query.as_deref(), &header);
    if key.as_deref() != Some(PUBLIC_KEY) {
        return refusal(StatusCode::FORBIDDEN, "missing or unknown key");
    }
    if project != PROJECT {
        return refusal(StatusCode::BAD_REQUEST, "unknown project");
    }
    let event_id = items.iter().find_map(|item| item.event_id.clone());
    let mut inbox = lock(&world.sentry);
    for item in items {
        inbox.items.insert(&Uuid::new_v4().to_string(), item);
    }
    Json(json!({"id": event_id})).into_response()
}

/// The key of the client: its header, its query, or the DSN inside the envelope.
fn key_of(
    headers: &HeaderMap,
    query: Option<&str>,
    envelope: &Map<String, Value>,
) -> Option<String> {
    let header = headers.get("x-sentry-auth").and_then(|value| value.to_str().ok());
    let from_header = header.and_then(|header| {
        let fields = header.strip_prefix("Sentry ")?.split(',');
        fields
            .filter_map(|field| field.trim().split_once('='))
            .find_map(|(name, value)| (name == "sentry_key").then(|| value.to_owned()))
    });
    let from_query = || {
        form_urlencoded::parse(query?.as_bytes())
            .find_map(|(name, value)| (name == "sentry_key").then(|| value.into_owned()))
    };
    let from_dsn = || Some(Url::parse(envelope.get("dsn")?.as_str()?).ok()?.username().to_owned());
    from_header.or_else(from_query).or_else(from_dsn)
}

/// Headers and items in lines; an item's payload is as long as its header says, or ends with its line.
fn parse(body: &[u8]) -> Option<(Map<String, Value>, Vec<SentryItem>)> {
    let (first, mut rest) = line(body);
    let envelope: Map<String, Value> = serde_json::from_slice(first).ok()?;
    let event_id = envelope.get("event_id").and_then(Value::as_str).map(str::to_owned);
    let mut items = Vec::new();
    while !rest.is_empty() {
        let (header, after) = line(rest);
        if header.is_empty() {
            rest = after;
            continue;
        }
        let header: Map<String, Value> = serde_json::from_slice(header).ok()?;
        let kind = header.get("type")?.as_str()?.to_owned();
        let length = header.get("length").and_then(Value::as_u64);
        let (payload, after) = match length {
            Some(length) => after.split_at_checked(usize::try_from(length).ok()?)?,
            None => line(after),
        };
        rest = after.strip_prefix(b"\n").unwrap_or(after);
        let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
        let own_id = payload.get("event_id").and_then(Value::as_str).map(str::to_owned);
        items.push(SentryItem { event_id: own_id.or_else(|| event_id.clone()), kind, payload });
    }
    Some((envelope, items))
}

fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let (line, rest) = bytes.split_at(end);
            (line, rest.strip_prefix(b"\n").unwrap_or(rest))
        }
        None => (bytes, &[]),
    }
}

/// The body of a refusal.
pub(crate) fn refusal(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({"detail": detail}))).into_response()
}
