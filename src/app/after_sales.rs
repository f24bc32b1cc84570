//! Wires what looks after checkouts once they were started, and who calls a person.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use crate::app::AppState;
use crate::clients::moyasar::Moyasar;
use crate::config::Config;
use crate::flows::announce_reviews::AnnounceReviews;
use crate::flows::checkout::cancel_invoices::CancelInvoices;
use crate::flows::checkout::guard_email::EmailGuard;
use crate::flows::checkout::heal_checkouts::HealCheckouts;
use crate::jobs::Step;
use crate::jobs::announce_reviews::AnnounceReviewsJob;
use crate::jobs::cancel_invoices::CancelInvoicesJob;
use crate::jobs::forget_keys::ForgetKeysJob;
use crate::jobs::heal_checkouts::HealCheckoutsJob;
use crate::tasks::Tasks;

/// The jobs that look after what was sold.
#[derive(Clone)]
pub(super) struct AfterSales {
    /// None without a key at the payment provider: there is nobody to ask.
    at_provider: Option<(HealCheckoutsJob, CancelInvoicesJob)>,
    forget_keys: ForgetKeysJob,
    announce_reviews: AnnounceReviewsJob,
}

impl AfterSales {
    pub fn new(config: &Config, state: &AppState, moyasar: Option<Moyasar>) -> Self {
        let AppState { db, clock, wake, analytics, check_sentry, .. } = state.clone();
        let lease = TimeDelta::seconds(config.jobs.lease_secs.into());
        let forget_keys = ForgetKeysJob { db: db.clone(), clock: clock.clone() };
        let announce_reviews = AnnounceReviewsJob {
            flow: AnnounceReviews {
                db: db.clone(),
                sentry: check_sentry.sentry,
                clock: clock.clone(),
            },
            bell: Arc::clone(&wake.reviews),
        };
        let at_provider = moyasar.map(|moyasar| {
            let cancel = CancelInvoices {
                db: db.clone(),
                moyasar: moyasar.clone(),
                lease,
                clock: clock.clone(),
                wake: wake.clone(),
            };
            let resolve_after = TimeDelta::seconds(config.checkout.resolve_after_secs.into());
            let heal = HealCheckouts { db, moyasar, analytics, resolve_after, lease, clock, wake };
            let tick = Duration::from_millis(config.jobs.tick_ms);
            (HealCheckoutsJob { flow: heal, tick }, CancelInvoicesJob { flow: cancel })
        });
        Self { at_provider, forget_keys, announce_reviews }
    }

    /// Starts all of them.
    pub fn start(&self, tasks: &Tasks) {
        let Self { at_provider, forget_keys, announce_reviews } = self.clone();
        if let Some((heal, cancel)) = at_provider {
            tasks.start("heal_checkouts", |stop| heal.run(stop));
            tasks.start("cancel_invoices", |stop| cancel.run(stop));
        }
        tasks.start("forget_keys", |stop| forget_keys.run(stop));
        tasks.start("announce_reviews", |stop| announce_reviews.run(stop));
    }

    /// Runs one step of each.
    pub async fn step(&self) -> anyhow::Result<Step> {
        let mut step = self.forget_keys.step().await?;
        if let Some((heal, cancel)) = &self.at_provider {
            step = step.or(heal.step().await?).or(cancel.step().await?);
        }
        // Last: what the others have asked in this round is told in it.
        Ok(step.or(self.announce_reviews.step().await?))
    }
}

/// How many checkouts one address may start.
pub(super) fn email_guard(config: &Config) -> EmailGuard {
    let limit = config.checkout.per_email_hourly;
    EmailGuard { limit: config.flags.abuse_guards_enabled.then_some(limit) }
}
