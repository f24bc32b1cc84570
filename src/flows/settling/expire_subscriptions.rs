//! Write down which subscriptions are past their end: what buyers see follows from the time alone, what
//! reports and other services read is written here.

use serde_json::json;
use sqlx::PgPool;

use crate::clock::Clock;
use crate::db;
use crate::db::audit_log::NewAudit;
use crate::faults;

/// How many are written down in one transaction.
const PAGE: i64 = 100;

/// What it needs.
#[derive(Clone)]
pub struct ExpireSubscriptions {
    pub db: PgPool,
    pub clock: Clock,
}

impl ExpireSubscriptions {
    /// Writes down one page, those that ended first; tells how many they were. Each has an audit row of
    /// the payment that it was granted for, so that its story reads in one place.
    pub async fn expire_page(&self) -> sqlx::Result<usize> {
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let overdue = db::subscriptions::lock_overdue(&mut tx, now, PAGE).await?;
        for (subscriber, held) in &overdue {
            let (before, after) = (held.subscription.status, held.subscription.status_at(now));
            db::subscriptions::set_status(&mut tx, subscriber, after, now).await?;
            let audit = NewAudit {
                actor: "expire_subscriptions",
                action: "subscription.lapsed",
                // The subscriber's name can be an address; the audit holds none.
                subject: &held.payment_id,
                reason: None,
                before: Some(json!({ "status": before })),
                after: Some(json!({ "status": after })),
                request_id: None,
                happened_at: now,
            };
            db::audit_log::insert(&mut *tx, &audit).await?;
        }
        if !overdue.is_empty() {
            faults::step("lapses_unsaved");
            tx.commit().await?;
            faults::step("lapses_saved");
        }
        Ok(overdue.len())
    }
}
