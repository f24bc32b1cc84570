//! Keep a visitor who asked to be called.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::db;
use crate::db::demo_requests::NewDemoRequest;
use crate::domain::email::Email;
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};
use crate::domain::phone::Phone;
use crate::faults;

/// What a visitor wrote, having agreed that we keep it.
#[derive(Clone, Debug)]
pub struct DemoRequest {
    pub name: String,
    pub email: Email,
    pub company: Option<String>,
    pub phone: Option<Phone>,
    pub message: Option<String>,
    pub request_id: String,
}

/// Stores the lead and tells analytics that there is one, together.
pub async fn request_demo(
    db: &PgPool,
    request: &DemoRequest,
    analytics: Analytics,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let id = Uuid::now_v7();
    let lead = NewDemoRequest {
        id,
        name: &request.name,
        email: request.email.as_str(),
        company: request.company.as_deref(),
        phone: request.phone.as_ref().map(Phone::as_str),
        message: request.message.as_deref(),
        request_id: &request.request_id,
        created_at: now,
    };
    let event = Occurrence::new(FunnelEvent::DemoRequest, id.to_string(), now);
    db::in_time(async {
        let mut tx = db.begin().await?;
        db::demo_requests::insert(&mut *tx, &lead).await?;
        db::outbox::insert(&mut tx, &event, analytics, Some(&request.request_id)).await?;
        faults::step("demo_unsaved");
        tx.commit().await?;
        faults::step("demo_saved");
        Ok(())
    })
    .await
}
