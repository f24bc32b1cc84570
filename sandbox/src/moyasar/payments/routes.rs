//! The HTTP routes of payments.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::Payment;
use crate::moyasar::errors::{ApiError, FieldErrors};
use crate::moyasar::listing::{Listing, page};
use crate::moyasar::{json_object, metadata};
use crate::world::{World, lock};

pub(in crate::moyasar) async fn list_payments(
    State(world): State<World>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let allowed = [
        "page",
        "id",
        "status",
        "created[gt]",
        "created[lt]",
        "updated[gt]",
        "updated[lt]",
        "metadata",
        "card_last_digits",
        "receipt_no",
    ];
    let listing = Listing::parse(query.as_deref(), &allowed)?;
    let books = lock(&world.books);
    let (payments, meta) = page(books.list_payments(&listing), listing.page);
    Ok(Json(json!({"payments": payments, "meta": meta})))
}

pub(in crate::moyasar) async fn fetch_payment(
    State(world): State<World>,
    Path(id): Path<String>,
) -> Result<Json<Payment>, ApiError> {
    let payment = lock(&world.books).payment(&id).cloned();
    payment.map(Json).ok_or_else(ApiError::not_found)
}

pub(in crate::moyasar) async fn update_payment(
    State(world): State<World>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Payment>, ApiError> {
    let body = json_object(&headers, &body)?;
    let update = metadata::parse_update(&body, &["metadata", "description"])?;
    let now = world.clock.now();
    let change = lock(&world.books).change_payment(&id, now, |payment| {
        if body.contains_key("metadata") {
            payment.metadata = metadata::merge(payment.metadata.take(), update);
        }
        if let Some(description) = body.get("description").and_then(Value::as_str) {
            payment.description = Some(description.to_owned());
        }
        payment.touch(now);
        Ok(())
    })?;
    Ok(Json(change.payment))
}

pub(in crate::moyasar) async fn refund_payment(
    State(world): State<World>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Payment>, ApiError> {
    let amount = amount_of(&headers, &body)?;
    world.refund(&id, amount).map(Json)
}

pub(in crate::moyasar) async fn capture_payment(
    State(world): State<World>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Payment>, ApiError> {
    let amount = amount_of(&headers, &body)?;
    world.capture(&id, amount).map(Json)
}

pub(in crate::moyasar) async fn void_payment(
    State(world): State<World>,
    Path(id): Path<String>,
) -> Result<Json<Payment>, ApiError> {
    world.void(&id).map(Json)
}

/// The optional `amount` of a refund or a capture; an empty body means all of it.
fn amount_of(headers: &HeaderMap, body: &Bytes) -> Result<Option<i64>, ApiError> {
    if body.is_empty() {
        return Ok(None);
    }
    match json_object(headers, body)?.get("amount") {
        None | Some(Value::Null) => Ok(None),
        Some(amount) => match amount.as_i64() {
            Some(amount) => Ok(Some(amount)),
            None => Err(FieldErrors::one("amount", "The value must be an integer.")),
        },
    }
}
