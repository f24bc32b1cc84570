//! Webhooks as the merchant manages them: registering, verifying, deleting, and reading what was attempted.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::errors::{ApiError, FieldErrors};
use super::json_object;
use super::listing::{Listing, page};
use super::payments::digits;
use crate::clock::stamp;
use crate::courier::Attempt;
use crate::world::{World, lock};

/// Every event an account can subscribe to.
pub(crate) const EVENTS: [&str; 18] = [
    "payment_authorized",
    "payment_captured",
    "payment_failed",
    "payment_paid",
    "payment_refunded",
    "payment_voided",
    "payment_abandoned",
    "payment_verified",
    "payment_expired",
    "payment_canceled",
    "card_auth_authenticated",
    "card_auth_failed",
    "balance_transferred",
    "payout_initiated",
    "payout_paid",
    "payout_failed",
    "payout_canceled",
    "payout_returned",
];

const WRONG_TRIES: u8 = 5;
const CODE_LIFETIME: TimeDelta = TimeDelta::minutes(30);

/// A registered webhook. Until it is verified it receives nothing, and what it misses is not sent later.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) id: String,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) shared_secret: String,
    /// None subscribes to all present and future events.
    events: Option<Vec<String>>,
    created_at: DateTime<Utc>,
    verification: Verification,
}

#[derive(Debug, Clone)]
enum Verification {
    Pending { code: String, wrong_tries: u8 },
    Done { at: DateTime<Utc> },
}

impl Webhook {
    /// One that the operator already verified.
    pub(crate) fn verified(url: Url, shared_secret: &str, now: DateTime<Utc>) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            method: Method::POST,
            url,
            shared_secret: shared_secret.to_owned(),
            events: None,
            created_at: now,
            verification: Verification::Done { at: now },
        }
    }

    pub(crate) fn wants(&self, event: &str) -> bool {
        let is_subscribed =
            self.events.as_ref().is_none_or(|events| events.iter().any(|one| one == event));
        matches!(self.verification, Verification::Done { .. }) && is_subscribed
    }

    fn verify(&mut self, code: &str, now: DateTime<Utc>) -> Result<(), ApiError> {
        let Verification::Pending { code: expected, wrong_tries } = &mut self.verification else {
            return Ok(());
        };
        let is_over = now - self.created_at > CODE_LIFETIME || *wrong_tries >= WRONG_TRIES;
        if is_over || code != expected {
            *wrong_tries = wrong_tries.saturating_add(1);
            return Err(ApiError::wrong_code());
        }
        self.verification = Verification::Done { at: now };
        Ok(())
    }

    fn to_json(&self) -> Value {
        let events = self.events.clone();
        let mut shown = json!({
            "id": self.id,
            "http_method": self.method.as_str().to_ascii_lowercase(),
            "url": self.url,
            "created_at": stamp(self.created_at),
            "events": events.unwrap_or_else(|| EVENTS.map(str::to_owned).to_vec()),
            "verified": matches!(self.verification, Verification::Done { .. }),
        });
        if let (Verification::Done { at }, Some(fields)) =
            (&self.verification, shown.as_object_mut())
        {
            fields.insert("verified_at".to_owned(), json!(stamp(*at)));
        }
        shown
    }
}

pub(super) async fn create_webhook(
    State(world): State<World>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body = json_object(&headers, &body)?;
    let mut errors = FieldErrors::default();
    let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
    let method = match text("http_method") {
        "post" => Method::POST,
        "put" => Method::PUT,
        "patch" => Method::PATCH,
        _ => {
            errors.add("http_method", "The value must be one of post, put, patch.");
            Method::POST
        }
    };
    let url = Url::parse(text("url")).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    if url.is_none() {
        errors.add("url", "The value must be a valid URL.");
    }
    let shared_secret = text("shared_secret").to_owned();
    if shared_secret.is_empty() {
        errors.add("shared_secret", "The value is required.");
    }
    let events = body.get("events").filter(|events| !events.is_null()).map(|events| {
        let names: Option<Vec<String>> = events
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|name| name.as_str().filter(|name| EVENTS.contains(name)).map(str::to_owned))
            .collect();
        names.filter(|names| !names.is_empty())
    });
    if let Some(None) = events {
        errors.add("events", "The value must list available events.");
    }
    errors.into_result()?;
    let Some(url) = url else { return Err(ApiError::refused("Validation Failed")) };
    let code = digits(6);
    let webhook = Webhook {
        id: Uuid::new_v4().to_string(),
        method,
        url,
        shared_secret,
        events: events.flatten(),
        created_at: world.clock.now(),
        verification: Verification::Pending { code: code.clone(), wrong_tries: 0 },
    };
    let shown = webhook.to_json();
    lock(&world.books).webhooks.push(webhook.clone());
    world.send_verification(&webhook, &code);
    Ok((StatusCode::CREATED, Json(shown)))
}

pub(super) async fn list_webhooks(State(world): State<World>) -> Json<Value> {
    let webhooks: Vec<Value> = lock(&world.books).webhooks.iter().map(Webhook::to_json).collect();
    Json(json!({"webhooks": webhooks}))
}

pub(super) async fn fetch_webhook(
    State(world): State<World>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let books = lock(&world.books);
    let webhook = books.webhooks.iter().find(|webhook| webhook.id == id);
    webhook.map(|webhook| Json(webhook.to_json())).ok_or_else(ApiError::not_found)
}

pub(super) async fn delete_webhook(
    State(world): State<World>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut books = lock(&world.books);
    let count = books.webhooks.len();
    books.webhooks.retain(|webhook| webhook.id != id);
    if books.webhooks.len() == count {
        return Err(ApiError::not_found());
    }
    Ok(Json(json!({"message": "The webhook was deleted."})))
}

pub(super) async fn verify_webhook(
    State(world): State<World>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let body = json_object(&headers, &body)?;
    let code = body.get("code").and_then(Value::as_str).unwrap_or_default();
    let mut books = lock(&world.books);
    let webhook = books.webhooks.iter_mut().find(|webhook| webhook.id == id);
    let webhook = webhook.ok_or_else(ApiError::not_found)?;
    webhook.verify(code, world.clock.now())?;
    Ok(Json(webhook.to_json()))
}

pub(super) async fn list_available_events() -> Json<Value> {
    Json(json!({"events": EVENTS}))
}

pub(super) async fn list_webhook_attempts(
    State(world): State<World>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let listing = Listing::parse(query.as_deref(), &["page"])?;
    let (attempts, meta) = world.courier.attempts(|newest_first| page(newest_first, listing.page));
    Ok(Json(json!({"webhook_attempts": attempts, "meta": meta})))
}

pub(super) async fn fetch_webhook_attempt(
    State(world): State<World>,
    Path(id): Path<String>,
) -> Result<Json<Attempt>, ApiError> {
    world.courier.attempt(&id).map(Json).ok_or_else(ApiError::not_found)
}
