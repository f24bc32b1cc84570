//! Let no address start more checkouts than a person would: counted in the checkout's transaction.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgTransaction;

use crate::db;
use crate::domain::email::Email;

/// The time over which checkouts are counted.
pub const WINDOW: Duration = Duration::from_hours(1);

/// How many checkouts an address may start in an hour; unlimited where the guards are switched off.
#[derive(Clone, Copy, Debug)]
pub struct EmailGuard {
    pub limit: Option<u32>,
}

/// The address has started as many as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany {
    /// How many it may start within [`WINDOW`].
    pub limit: u32,
    pub retry_after: Duration,
}

impl EmailGuard {
    /// Whether the address may start another one, in this transaction. Two requests for one address pass
    /// one after the other.
    pub async fn pass(
        self,
        tx: &mut PgTransaction<'_>,
        email: &Email,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Result<(), TooMany>> {
        let Some(limit) = self.limit else { return Ok(Ok(())) };
        db::checkouts::lock_email(tx, email.as_str()).await?;
        let window = TimeDelta::from_std(WINDOW).unwrap_or_default();
        let (since, nth) = (now - window, limit.into());
        let nth = db::checkouts::find_nth_newest(tx, email.as_str(), since, nth).await?;
        Ok(nth.map_or(Ok(()), |started_at| {
            let retry_after = (started_at + window - now).to_std().unwrap_or_default();
            Err(TooMany { limit, retry_after })
        }))
    }
}
