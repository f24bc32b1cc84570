//! Show a buyer where a checkout stands.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::db;
use crate::db::checkouts::CheckoutView;
use crate::domain::checkout::CheckoutId;
use crate::domain::subscription::{Subscription, SubscriptionStatus};

/// A checkout and, once it was paid, what it pays for.
#[derive(Clone, Debug)]
pub struct Shown {
    pub checkout: CheckoutView,
    pub subscription: Option<(SubscriptionStatus, Subscription)>,
}

/// The checkout with that id, if there is one.
pub async fn show_checkout(
    db: &PgPool,
    id: CheckoutId,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Shown>> {
    let Some(checkout) = db::checkouts::find(db, id).await? else { return Ok(None) };
    // Before it is paid, a subscription of the same customer is another checkout's business.
    let subscription = match checkout.paid_at {
        Some(_) => db::subscriptions::find(db, &checkout.subscriber).await?,
        None => None,
    };
    let subscription = subscription.map(|found| (found.status_at(now), found));
    Ok(Some(Shown { checkout, subscription }))
}
