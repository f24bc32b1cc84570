//! The invoice object, what a new one must say, and its HTTP routes. Books keeps the invoices.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::errors::{ApiError, FieldErrors};
use super::listing::{Listing, page};
use super::payments::Payment;
use super::{json_object, metadata};
use crate::clock::{millis, optional_millis};
use crate::world::{World, lock};

/// Where an invoice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// Payable, also after a declined attempt.
    Initiated,
    /// A payment succeeded.
    Paid,
    /// Its payment went back in full.
    Refunded,
    /// Canceled by the merchant.
    Canceled,
    /// Money is held and not taken yet.
    OnHold,
    /// Its time ran out.
    Expired,
    /// Its payment was undone.
    Voided,
}

impl InvoiceStatus {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initiated => "initiated",
            Self::Paid => "paid",
            Self::Refunded => "refunded",
            Self::Canceled => "canceled",
            Self::OnHold => "on_hold",
            Self::Expired => "expired",
            Self::Voided => "voided",
        }
    }
}

/// An invoice as a single fetch shows it.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are the provider's, explained by its own reference")]
pub struct Invoice {
    pub id: String,
    pub status: InvoiceStatus,
    pub amount: i64,
    pub currency: String,
    pub description: String,
    pub logo_url: Option<String>,
    pub amount_format: String,
    pub url: String,
    pub callback_url: Option<String>,
    #[serde(serialize_with = "optional_millis")]
    pub expired_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "millis")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "millis")]
    pub updated_at: DateTime<Utc>,
    pub back_url: Option<String>,
    pub success_url: Option<String>,
    pub metadata: Option<Map<String, Value>>,
    pub payments: Vec<Payment>,
}

/// A valid request for an invoice.
#[derive(Debug)]
pub(crate) struct NewInvoice {
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) description: String,
    pub(crate) callback_url: Option<String>,
    pub(crate) success_url: Option<String>,
    pub(crate) back_url: Option<String>,
    pub(crate) expired_at: Option<DateTime<Utc>>,
    pub(crate) metadata: Option<Map<String, Value>>,
}

impl NewInvoice {
    fn parse(body: &Map<String, Value>, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let mut errors = FieldErrors::default();
        let amount = body.get("amount").and_then(Value::as_i64);
        match amount {
            Some(amount) if amount < 100 => {
                errors.add("amount", "The value must be greater than or equal to 100.");
            }
            Some(_) => (),
            None => errors.add("amount", "The value must be an integer."),
        }
        let currency = body.get("currency").and_then(Value::as_str).unwrap_or_default();
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            errors.add("currency", "The value must be an ISO 4217 currency code.");
        }
        let description = body.get("description").and_then(Value::as_str).unwrap_or_default();
        if description.trim().is_empty() {
            errors.add("description", "The value is required.");
        }
        let mut url = |field: &'static str| link(body, field, &mut errors);
        let (callback_url, success_url, back_url) =
            (url("callback_url"), url("success_url"), url("back_url"));
        let expired_at = match body.get("expired_at") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let at = value.as_str().and_then(moment);
                match at {
                    Some(at) if at <= now => {
                        errors.add("expired_at", "The value must be in the future.");
                    }
                    Some(_) => (),
                    None => errors.add("expired_at", "The value must be an ISO 8601 date."),
                }
                at
            }
        };
        let metadata = metadata::parse(body.get("metadata"), &mut errors);
        errors.into_result()?;
        Ok(Self {
            amount: amount.unwrap_or_default(),
            currency: currency.to_owned(),
            description: description.to_owned(),
            callback_url,
            success_url,
            back_url,
            expired_at,
            metadata,
        })
    }
}

/// A URL of the body, kept exactly as it was sent.
fn link(
    body: &Map<String, Value>,
    field: &'static str,
    errors: &mut FieldErrors,
) -> Option<String> {
    let value = body.get(field).filter(|value| !value.is_null())?;
    let link = value.as_str().filter(|link| {
        Url::parse(link)
            .is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
    });
    if link.is_none() {
        errors.add(field, "The value must be a valid URL.");
    }
    link.map(str::to_owned)
}

/// A date means its first moment; an offset is converted to UTC.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_hms_opt(0, 0, 0)?.and_utc());
    }
    Some(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc))
}

pub(super) async fn create_invoice(
    State(world): State<World>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Invoice>), ApiError> {
    let now = world.clock.now();
    let request = NewInvoice::parse(&json_object(&headers, &body)?, now)?;
    let invoice = lock(&world.books).open_invoice(request, &world.links, now);
    Ok((StatusCode::CREATED, Json(invoice)))
}

pub(super) async fn list_invoices(
    State(world): State<World>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let listing = Listing::parse(
        query.as_deref(),
        &["page", "id", "status", "created[gt]", "created[lt]", "metadata"],
    )?;
    let books = lock(&world.books);
    let now = world.clock.now();
    let (items, meta) = page(books.list_invoices(&listing, now), listing.page);
    let invoices: Vec<Value> = items.iter().map(|invoice| books.list_item(invoice, now)).collect();
    Ok(Json(json!({"invoices": invoices, "meta": meta})))
}

pub(super) async fn fetch_invoice(
    State(world): State<World>,
    Path(id): Path<String>,
) -> Result<Json<Invoice>, ApiError> {
    let invoice = lock(&world.books).invoice(&id, world.clock.now());
    invoice.map(Json).ok_or_else(ApiError::not_found)
}

pub(super) async fn update_invoice(
    State(world): State<World>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Invoice>, ApiError> {
    let change = metadata::parse_update(&json_object(&headers, &body)?, &["metadata"])?;
    lock(&world.books).update_invoice(&id, change, world.clock.now()).map(Json)
}

pub(super) async fn cancel_invoice(
    State(world): State<World>,
    Path(id): Path<String>,
) -> Result<Json<Invoice>, ApiError> {
    lock(&world.books).cancel_invoice(&id, world.clock.now()).map(Json)
}
