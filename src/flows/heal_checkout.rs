//! Heal a checkout whose webhook was lost: ask the provider for its invoices, settle their payments.
//!
//! Three things prompt it, none of which is believed: the invoice's callback, the return of the buyer
//! to a page that polls, and (later) the reconciliation. The effects are those of a webhook, once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use sqlx::PgPool;
use tokio::sync::Semaphore;

use crate::clients::moyasar::Moyasar;
use crate::clock::Clock;
use crate::db;
use crate::domain::checkout::{CheckoutId, CheckoutStatus};
use crate::domain::funnel::Analytics;
use crate::faults;
use crate::flows::settle_payment::{Context, settle_payment};
use crate::wake::Wake;

/// How long a webhook gets before a waiting buyer prompts a look, and the time between two looks.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checkouts that are remembered as just looked at; beyond it the older ones are forgotten.
const REMEMBERED: usize = 10_000;

/// What healing a checkout needs.
#[derive(Clone)]
pub struct HealCheckout {
    pub db: PgPool,
    /// Absent where no key is configured.
    pub moyasar: Option<Moyasar>,
    pub analytics: Analytics,
    pub clock: Clock,
    pub wake: Wake,
    pub looks: Looks,
    /// One place per look that may be under way; a prompt that finds none is dropped, because another
    /// one will come.
    pub places: Arc<Semaphore>,
}

/// Looks under way at the same time: strangers prompt them, and the provider must not notice.
pub const PLACES: usize = 8;

/// When each checkout was last looked at, so that a crowd of polls prompts one look.
#[derive(Clone, Debug, Default)]
pub struct Looks(Arc<Mutex<HashMap<CheckoutId, Instant>>>);

impl Looks {
    /// Whether it is time for another look, which the caller then takes.
    fn claim(&self, checkout: CheckoutId, now: Instant) -> bool {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.get(&checkout).is_some_and(|last| now.duration_since(*last) < PATIENCE) {
            return false;
        }
        if looks.len() >= REMEMBERED {
            looks.retain(|_, last| now.duration_since(*last) < PATIENCE);
        }
        // So many buyers at once: better no healing than a memory without bounds.
        if looks.len() >= REMEMBERED {
            return false;
        }
        looks.insert(checkout, now);
        true
    }
}

impl HealCheckout {
    /// Whether a buyer who waits since `since` should prompt a look now.
    pub fn is_due(&self, checkout: CheckoutId, since: chrono::DateTime<chrono::Utc>) -> bool {
        let waited = self.clock.now() - since;
        self.moyasar.is_some()
            && waited > TimeDelta::from_std(PATIENCE).unwrap_or(TimeDelta::MAX)
            && self.looks.claim(checkout, self.clock.monotonic())
    }

    /// The checkout that an invoice callback with that token is about. Only the provider can know
    /// the token, so nobody else can make us look.
    pub async fn find_called_back(&self, token: &str) -> Option<CheckoutId> {
        let found = db::in_time(db::checkouts::find_by_callback_token(&self.db, token)).await;
        found.unwrap_or_else(|error| {
            tracing::warn!(error = %error, "An invoice callback came to nothing: {error}");
            None
        })
    }

    /// Looks now. A failure is logged and otherwise nothing: the next prompt tries again.
    pub async fn run(&self, checkout: CheckoutId, request_id: &str) {
        let Ok(_place) = self.places.try_acquire() else { return };
        if let Err(error) = self.look(checkout, request_id).await {
            tracing::warn!(
                checkout.id = %checkout,
                error = format!("{error:#}"),
                "A checkout was not healed: {error:#}"
            );
        }
    }

    async fn look(&self, checkout: CheckoutId, request_id: &str) -> anyhow::Result<()> {
        let Some(moyasar) = &self.moyasar else { return Ok(()) };
        faults::step("look_begun");
        let mut ends = Vec::new();
        for invoice_id in db::invoices::list(&self.db, checkout).await? {
            let invoice = moyasar.fetch_invoice(&invoice_id).await?;
            for mut payment in invoice.payments {
                // It stands in the invoice that we asked for, whatever its own field says or lacks.
                payment.invoice_id = Some(invoice_id.clone());
                let (analytics, now) = (self.analytics, self.clock.now());
                let context = Context { analytics, adopted_by: None, request_id, now };
                let mut tx = self.db.begin().await?;
                let settled = settle_payment(&mut tx, &payment, &[], context).await?;
                faults::step("healing_unsaved");
                tx.commit().await?;
                settled.questions.announce();
                faults::step("healing_saved");
            }
            ends.push(end(&invoice.status));
        }
        // Nothing ever tells us that an invoice ended unpaid: it has to be read there. While one of
        // them can be paid, the checkout can.
        if let Some(Some(status)) = ends.last()
            && ends.iter().all(Option::is_some)
        {
            db::checkouts::close(&self.db, checkout, *status, self.clock.now()).await?;
        }
        self.wake.outbox.notify_one();
        Ok(())
    }
}

/// How an invoice with that status ended without a payment, if it did. `failed` is no end: it may
/// speak of one attempt only, and money for a checkout that was ended by mistake is held back.
fn end(status: &str) -> Option<CheckoutStatus> {
    match status {
        "expired" => Some(CheckoutStatus::Expired),
        "canceled" => Some(CheckoutStatus::Canceled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_be_paid_again_has_ended() {
        assert_eq!(end("expired"), Some(CheckoutStatus::Expired));
        assert_eq!(end("canceled"), Some(CheckoutStatus::Canceled));
        for open in ["initiated", "paid", "failed", "refunded", "voided", "on_hold", "of_tomorrow"]
        {
            assert_eq!(end(open), None, "{open}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn a_crowd_prompts_one_look_every_ten_seconds() {
        let (looks, checkout, start) = (Looks::default(), CheckoutId::random(), Instant::now());
        assert!(looks.claim(checkout, start));
        assert!(!looks.claim(checkout, start + Duration::from_millis(9_999)));
        assert!(looks.claim(CheckoutId::random(), start));
        assert!(looks.claim(checkout, start + Duration::from_secs(10)));
        assert!(!looks.claim(checkout, start + Duration::from_secs(19)));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn what_is_remembered_is_bounded() {
        let (looks, start) = (Looks::default(), Instant::now());
        for _ in 0..REMEMBERED {
            assert!(looks.claim(CheckoutId::random(), start));
        }
        assert!(!looks.claim(CheckoutId::random(), start));
        assert!(looks.claim(CheckoutId::random(), start + PATIENCE));
        assert_eq!(looks.0.lock().unwrap().len(), 1);
    }
}
