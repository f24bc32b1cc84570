//! The `demo_requests` table: visitors who asked to be called.

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

/// A visitor who asked to be called and agreed that we keep what they wrote.
#[derive(Clone)]
pub struct NewDemoRequest<'a> {
    pub id: Uuid,
    pub name: &'a str,
    pub email: &'a str,
    pub company: Option<&'a str>,
    pub phone: Option<&'a str>,
    pub message: Option<&'a str>,
    pub request_id: &'a str,
    pub created_at: DateTime<Utc>,
}

/// Stores the lead.
pub async fn insert(db: impl PgExecutor<'_>, new: &NewDemoRequest<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into demo_requests (id, name, email, company, phone, message, consented_at, request_id,
             created_at)
         values ($1, $2, $3, $4, $5, $6, $8, $7, $8)",
        new.id,
        new.name,
        new.email,
        new.company,
        new.phone,
        new.message,
        new.request_id,
        new.created_at,
    )
    .execute(db)
    .await?;
    Ok(())
}
