//! Heal checkouts that nobody told us enough about: ask the provider what invoices they have, and settle
//! what was paid.
//!
//! A checkout is looked at when its date has come: a minute after it began, if nobody knows whether it
//! has an invoice; when a buyer waits or the provider calls back; and once more after its end. The
//! effects of a payment found so are those of a webhook, once.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::clients::moyasar::{self, Invoice, Moyasar};
use crate::clients::{ClientError, Flaw};
use crate::clock::Clock;
use crate::db;
use crate::db::looks::ClaimedLook;
use crate::db::reviews::NewReview;
use crate::domain::checkout::{CheckoutId, CheckoutStatus};
use crate::domain::funnel::Analytics;
use crate::faults;
use crate::flows::checkout::open_checkout::{
    Found, Intent, ask_about_strange, open, refuse, search,
};
use crate::flows::questions::Questions;
use crate::flows::settling::settle_payment::{Context, settle_payment};
use crate::wake::Wake;

/// How soon the provider is asked again after it gave no answer; doubled each time up to the longest.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(5);
const LONGEST_PAUSE: TimeDelta = TimeDelta::minutes(10);

/// How often a checkout is looked at whose time is over and whose invoice says neither.
const LATE_PAUSE: TimeDelta = TimeDelta::hours(6);

/// How long after the end of its time a checkout that nobody understands is given to a person.
const UNDECIDED_AFTER: TimeDelta = TimeDelta::hours(48);

/// What healing checkouts needs.
#[derive(Clone)]
pub struct HealCheckouts {
    pub db: PgPool,
    pub moyasar: Moyasar,
    pub analytics: Analytics,
    /// How old a checkout without an invoice must be to be over: older than any request, so that none
    /// is ended that is just being made.
    pub resolve_after: TimeDelta,
    /// How long a checkout belongs to whoever claimed it.
    pub lease: TimeDelta,
    pub clock: Clock,
    pub wake: Wake,
}

/// What came of trying to heal one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Healed {
    /// No checkout was due.
    NoneDue,
    /// One was looked at.
    One,
    /// The provider gave no answer: the next checkout would fare no better.
    ProviderAway,
}

/// Why a look told nothing.
#[derive(Debug, thiserror::Error)]
enum Unseen {
    #[error("the provider did not tell: {0}")]
    Provider(#[from] ClientError),
    #[error("the database failed: {0}")]
    Storage(#[from] sqlx::Error),
}

impl Unseen {
    /// The error, if it only concerns what was just asked for.
    fn refusal(self) -> Result<ClientError, Self> {
        match self {
            Self::Provider(error) if error.is_refusal() => Ok(error),
            other @ (Self::Provider(_) | Self::Storage(_)) => Err(other),
        }
    }
}

/// A checkout in our hands.
struct Look {
    token: Uuid,
    lease_until: DateTime<Utc>,
    claimed: ClaimedLook,
    intent: Intent,
}

impl HealCheckouts {
    /// Looks at the checkout that is due for longest. Whatever happens, it is not forgotten: its lease
    /// ends by itself.
    pub async fn heal_one(&self) -> sqlx::Result<Healed> {
        let (token, now) = (Uuid::new_v4(), self.clock.now());
        let lease_until = now + self.lease;
        let claimed = db::in_time(db::looks::claim(&self.db, token, now, lease_until)).await?;
        let Some(claimed) = claimed else { return Ok(Healed::NoneDue) };
        faults::step("look_claimed");
        let intent = Intent::from(&claimed);
        let look = Look { token, lease_until, claimed, intent };
        match self.look(&look).await {
            Ok(()) => {
                db::in_time(self.finish(&look)).await?;
                self.wake.outbox.notify_one();
                Ok(Healed::One)
            }
            Err(Unseen::Provider(error)) => {
                db::in_time(self.wait(&look, &error)).await?;
                Ok(if error.is_refusal() { Healed::One } else { Healed::ProviderAway })
            }
            Err(Unseen::Storage(error)) => Err(error),
        }
    }

    async fn look(&self, look: &Look) -> Result<(), Unseen> {
        // What the provider refuses to tell must not hide what it tells of another invoice.
        let mut refusal = None;
        if look.claimed.opened_at.is_none() {
            match self.resolve(look).await {
                Ok(true) => (),
                Ok(false) => return Ok(()),
                Err(error) => refusal = Some(error.refusal()?),
            }
        }
        let checkout = look.intent.id;
        faults::step("look_begun");
        let mut ends = Vec::new();
        for stored in db::in_time(db::invoices::list(&self.db, checkout)).await? {
            match self.moyasar.fetch_invoice(&stored.id).await {
                Ok(invoice) => {
                    ends.push(end(&invoice.status));
                    self.settle_payments(&look.intent, &stored.id, invoice).await?;
                }
                Err(error) => refusal = Some(Unseen::from(error).refusal()?),
            }
        }
        if let Some(error) = refusal {
            return Err(error.into());
        }
        // Nothing ever tells us that an invoice ended unpaid: it has to be read there. While one of
        // them can be paid, the checkout can. The buyer was given the first.
        if let Some(Some(status)) = ends.first()
            && ends.iter().all(Option::is_some)
        {
            let close = db::checkouts::close(&self.db, checkout, *status, self.clock.now());
            db::in_time(close).await?;
        }
        Ok(())
    }

    /// Finds out whether a checkout has an invoice, and opens or ends it; tells whether it has one.
    async fn resolve(&self, look: &Look) -> Result<bool, Unseen> {
        // Also where a payment has made an invoice known: it may be the younger of two.
        let found = search(&self.moyasar, &look.intent).await?;
        match db::in_time(self.write(look, &found)).await? {
            Some(false) if !found.is_complete => {
                let flaw = Flaw::CutShort;
                Err(ClientError::Unreadable { client: moyasar::CLIENT, flaw }.into())
            }
            is_open => Ok(is_open == Some(true)),
        }
    }

    /// Opens or ends a checkout by what was found; none if somebody else looks after it by now.
    async fn write(&self, look: &Look, found: &Found) -> sqlx::Result<Option<bool>> {
        let Look { token, claimed, intent, .. } = look;
        let (now, mut tx) = (self.clock.now(), self.db.begin().await?);
        if db::looks::lock(&mut *tx, intent.id, *token).await?.is_none() {
            return Ok(None);
        }
        let questions = ask_about_strange(&mut tx, intent.id, &found.strange, now).await?;
        let is_open = open(&mut tx, intent, &found.pages, self.analytics, now).await?.is_some();
        // While it is young, the request that makes the invoice may still be under way.
        if !is_open && found.is_complete && now >= claimed.created_at + self.resolve_after {
            refuse(&mut tx, intent.id, now).await?;
        }
        faults::step("resolution_unsaved");
        tx.commit().await?;
        questions.announce(&self.wake);
        faults::step("resolution_saved");
        Ok(Some(is_open))
    }

    async fn settle_payments(
        &self,
        intent: &Intent,
        invoice_id: &str,
        invoice: Invoice,
    ) -> sqlx::Result<()> {
        for mut payment in invoice.payments {
            let named = payment.invoice_id.as_deref().filter(|named| !named.is_empty());
            if named.is_some_and(|named| named != invoice_id) {
                let difference =
                    format!("it stands in invoice {invoice_id} and names another as its own");
                let (id, kind) = (Some(payment.id.as_str()), "strange_payment");
                let question = self.question(intent.id, id, kind, &difference);
                db::in_time(Questions::ask_alone(&self.db, &self.wake, &question)).await?;
                continue;
            }
            // Where it names none: it stands in the invoice that we asked for.
            payment.invoice_id = Some(invoice_id.to_owned());
            let (analytics, request_id) = (self.analytics, intent.request_id.as_str());
            let now = self.clock.now();
            let context = Context { analytics, adopted_by: None, request_id, now };
            let settle = async {
                let mut tx = self.db.begin().await?;
                let settled = settle_payment(&mut tx, &payment, &[], context).await?;
                faults::step("healing_unsaved");
                tx.commit().await?;
                settled.questions.announce(&self.wake);
                faults::step("healing_saved");
                Ok(())
            };
            db::in_time(settle).await?;
        }
        Ok(())
    }

    /// Says when the next look is due, if any.
    async fn finish(&self, look: &Look) -> sqlx::Result<()> {
        let Look { token, lease_until, claimed, intent } = look;
        let mut tx = self.db.begin().await?;
        let Some(status) = db::looks::lock(&mut *tx, intent.id, *token).await? else {
            return Ok(());
        };
        let resolve_at = claimed.created_at + self.resolve_after;
        let next = next_look(status, resolve_at, intent, self.clock.now());
        let mut questions = Questions::default();
        if status == CheckoutStatus::Pending && next.is_none() {
            let question = self.question(intent.id, None, "undecided_checkout", UNDECIDED);
            questions.ask(&mut *tx, &question).await?;
        }
        db::looks::finish(&mut *tx, intent.id, *token, *lease_until, 0, next).await?;
        faults::step("look_unfinished");
        tx.commit().await?;
        questions.announce(&self.wake);
        faults::step("look_finished");
        Ok(())
    }

    /// The provider told nothing: the checkout waits, and nothing is counted against it. What it still
    /// refuses to tell long after the checkout's time is for a person, who knows whom to ask.
    async fn wait(&self, look: &Look, error: &ClientError) -> sqlx::Result<()> {
        let Look { token, lease_until, claimed, intent } = look;
        tracing::warn!(
            checkout.id = %intent.id,
            error = %error,
            "A checkout was not looked at: {error}"
        );
        let failures = claimed.failures.saturating_add(1);
        let pause = pause(claimed.failures, error.retry_after());
        let is_hopeless =
            error.is_refusal() && self.clock.now() >= intent.expires_at + UNDECIDED_AFTER;
        if is_hopeless {
            let question = self.question(intent.id, None, "unreadable_checkout", UNREADABLE);
            Questions::ask_alone(&self.db, &self.wake, &question).await?;
        }
        let next = (!is_hopeless).then(|| self.clock.now() + pause);
        db::looks::finish(&self.db, intent.id, *token, *lease_until, failures, next).await
    }

    /// What a person is asked about the checkout, or one payment of it.
    fn question<'a>(
        &self,
        checkout: CheckoutId,
        payment: Option<&'a str>,
        kind: &'static str,
        difference: &'a str,
    ) -> NewReview<'a> {
        NewReview {
            kind,
            payment_id: payment,
            checkout_id: Some(checkout),
            event_id: None,
            difference,
            opened_at: self.clock.now(),
        }
    }
}

/// When a checkout that was just looked at is looked at again.
fn next_look(
    status: CheckoutStatus,
    resolve_at: DateTime<Utc>,
    intent: &Intent,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    match status {
        // Never at once, whatever kept it from being decided now.
        CheckoutStatus::Opening => Some(resolve_at.max(now + FIRST_PAUSE)),
        CheckoutStatus::Refused => None,
        _ if now < intent.last_look_at() => Some(intent.last_look_at()),
        CheckoutStatus::Pending if now < intent.expires_at + UNDECIDED_AFTER => {
            Some(now + LATE_PAUSE)
        }
        CheckoutStatus::Pending
        | CheckoutStatus::Paid
        | CheckoutStatus::Refunded
        | CheckoutStatus::Failed
        | CheckoutStatus::Expired
        | CheckoutStatus::Canceled
        | CheckoutStatus::Review => None,
    }
}

const UNDECIDED: &str = "its time is over, and the provider says neither paid nor ended";

const UNREADABLE: &str =
    "its time is over, and the provider does not tell of its invoices what can be read";

/// How long to wait after so many failures in a row; longer if the provider says so. ±20 %, so that
/// what failed together does not come back together.
fn pause(failures: i32, asked: Option<Duration>) -> TimeDelta {
    let doubled = 1_i32 << failures.clamp(0, 10);
    let asked = asked.and_then(|asked| TimeDelta::from_std(asked).ok()).unwrap_or_default();
    let pause = (FIRST_PAUSE * doubled).max(asked).min(LONGEST_PAUSE);
    pause * fastrand::i32(80..=120) / 100
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
    use crate::domain::money::Halalas;

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
    fn a_checkout_that_is_still_in_doubt_is_never_looked_at_again_at_once() {
        let now: DateTime<Utc> = "2026-01-02T03:04:05Z".parse().unwrap();
        let intent = Intent {
            id: CheckoutId::random(),
            plan_id: "starter".to_owned(),
            amount: Halalas(99_000),
            currency: "SAR".to_owned(),
            distinct_id: String::new(),
            request_id: String::new(),
            expires_at: now + TimeDelta::hours(24),
        };
        for (resolve_in, wait) in [(-3_600, 5), (0, 5), (4, 5), (60, 60)] {
            let resolve_at = now + TimeDelta::seconds(resolve_in);
            let next = next_look(CheckoutStatus::Opening, resolve_at, &intent, now);
            assert_eq!(next, Some(now + TimeDelta::seconds(wait)), "{resolve_in}");
        }
    }

    #[test]
    fn the_pause_doubles_up_to_ten_minutes_and_heeds_the_provider() {
        for (failures, asked, seconds) in
            [(0, None, 5), (1, None, 10), (3, None, 40), (40, None, 600), (0, Some(60), 60)]
        {
            let pause = pause(failures, asked.map(Duration::from_secs)).num_seconds();
            assert!((seconds * 4 / 5..=seconds * 6 / 5).contains(&pause), "{failures}: {pause}");
        }
    }
}
