//! Show a buyer where a checkout stands, and look after one that waits too long.

use sqlx::PgPool;

use crate::clock::Clock;
use crate::db;
use crate::db::checkouts::CheckoutView;
use crate::domain::checkout::CheckoutId;
use crate::domain::subscription::{Subscription, SubscriptionStatus};
use crate::flows::checkout::prompt_look::PromptLook;

/// What showing a checkout needs.
#[derive(Clone)]
pub struct ShowCheckout {
    pub db: PgPool,
    pub prompt_look: PromptLook,
    pub clock: Clock,
}

/// A checkout and, once it was paid, what it pays for.
#[derive(Clone, Debug)]
pub struct Shown {
    pub checkout: CheckoutView,
    pub subscription: Option<(SubscriptionStatus, Subscription)>,
}

impl ShowCheckout {
    /// The checkout with that id, if there is one. One that waits for longer than a webhook takes
    /// prompts a look at the provider, whose result the next poll shows.
    pub async fn run(&self, id: CheckoutId) -> sqlx::Result<Option<Shown>> {
        let shown = self.peek(id).await?;
        if let Some(Shown { checkout, .. }) = &shown {
            self.prompt_look.by_buyer(id, checkout).await;
        }
        Ok(shown)
    }

    /// The same without any effect.
    pub async fn peek(&self, id: CheckoutId) -> sqlx::Result<Option<Shown>> {
        db::in_time(self.find(id)).await
    }

    async fn find(&self, id: CheckoutId) -> sqlx::Result<Option<Shown>> {
        let Some(checkout) = db::checkouts::find(&self.db, id).await? else { return Ok(None) };
        // Before it is paid, a subscription of the same customer is another checkout's business.
        let subscription = match checkout.paid_at {
            Some(_) => db::subscriptions::find(&self.db, &checkout.subscriber).await?,
            None => None,
        };
        let now = self.clock.now();
        let subscription = subscription.map(|found| (found.status_at(now), found));
        Ok(Some(Shown { checkout, subscription }))
    }
}
