//! Have somebody look at a checkout soon: a buyer waits, or the provider says that something happened.
//!
//! A prompt is a date in the checkout's row, so that it outlives the process, and a crowd of prompts is
//! one look. Nothing in a prompt is believed.

use std::time::Duration;

use chrono::TimeDelta;
use sqlx::PgPool;

use crate::clock::Clock;
use crate::db;
use crate::db::checkouts::CheckoutView;
use crate::domain::checkout::{CheckoutId, CheckoutStatus};
use crate::wake::Wake;

/// How long a webhook gets before a waiting buyer prompts a look, and the time between two looks.
const PATIENCE: TimeDelta = TimeDelta::seconds(10);

/// How long the provider, which hangs up soon, waits for a prompt to be noted. One that is not was only
/// a prompt: the buyer's polls and the last look come all the same.
const CALLBACK_PATIENCE: Duration = Duration::from_secs(1);

/// What prompting a look needs.
#[derive(Clone)]
pub struct PromptLook {
    pub db: PgPool,
    pub clock: Clock,
    pub wake: Wake,
}

impl PromptLook {
    /// A buyer looks at a checkout. If it waits for longer than a webhook takes, so does the provider's
    /// answer; the next poll shows what came of it.
    pub async fn by_buyer(&self, id: CheckoutId, checkout: &CheckoutView) {
        let now = self.clock.now();
        let waits = matches!(checkout.status, CheckoutStatus::Opening | CheckoutStatus::Pending);
        let is_due = checkout.looked_at.unwrap_or(checkout.created_at) + PATIENCE;
        if waits && now > checkout.created_at + PATIENCE && now >= is_due {
            self.prompt(id).await;
        }
    }

    /// The provider calls back with a token that only it can know: nobody else can make us look.
    pub async fn by_callback(&self, token: &str) {
        let work = async {
            let found = db::in_time(db::checkouts::find_by_callback_token(&self.db, token)).await;
            match found {
                Ok(Some(checkout)) => self.prompt(checkout).await,
                Ok(None) => (),
                Err(error) => {
                    tracing::warn!(error = %error, "An invoice callback came to nothing: {error}");
                }
            }
        };
        if tokio::time::timeout(CALLBACK_PATIENCE, work).await.is_err() {
            tracing::warn!("An invoice callback came to nothing: the database took too long");
        }
    }

    /// A prompt that fails is logged and otherwise nothing: another one will come.
    async fn prompt(&self, checkout: CheckoutId) {
        let now = self.clock.now();
        match db::in_time(db::looks::prompt(&self.db, checkout, PATIENCE, now)).await {
            Ok(()) => self.wake.checkouts.notify_one(),
            Err(error) => {
                tracing::warn!(
                    checkout.id = %checkout,
                    error = %error,
                    "A look at a checkout was not prompted: {error}"
                );
            }
        }
    }
}
