//! Pass on what a visitor of the public site did.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlx::PgPool;

use crate::db;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};

/// What a visitor did, without personal data.
#[derive(Clone, Debug)]
pub struct Visit {
    pub event: FunnelEvent,
    /// The visitor's random id.
    pub visitor: String,
    pub properties: Map<String, Value>,
    pub request_id: String,
}

/// Writes a visit into the outbox.
pub async fn track_visit(
    db: &PgPool,
    visit: Visit,
    analytics: Analytics,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let Visit { event, visitor, properties, request_id } = visit;
    let occurrence = Occurrence { properties, ..Occurrence::new(event, visitor, now) };
    db::in_time(async {
        let mut connection = db.acquire().await?;
        db::outbox::insert(&mut connection, &occurrence, analytics, Some(&request_id)).await
    })
    .await
}
