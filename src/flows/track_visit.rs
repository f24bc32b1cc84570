//! Pass on what a visitor of the public site did.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgPool;

use crate::db;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};

/// Writes a visitor's event into the outbox; a visitor is known by a random id only.
pub async fn track_visit(
    db: &PgPool,
    event: FunnelEvent,
    visitor: String,
    properties: Map<String, Value>,
    analytics: Analytics,
    request_id: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let occurrence = Occurrence { properties, ..Occurrence::new(event, visitor, now) };
    let mut connection = db.acquire().await?;
    db::outbox::insert(&mut connection, &occurrence, analytics, Some(request_id)).await
}
