//! Cancel the invoices that a checkout has too many: one of them is enough to be paid.
//!
//! Only an invoice that names the same checkout is canceled, and only while nobody has paid it; what
//! was paid is settled instead. What cannot be canceled is given to a person.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::clients::ClientError;
use crate::clients::moyasar::{Invoice, Moyasar};
use crate::clock::Clock;
use crate::db;
use crate::db::invoices::ClaimedCancel;
use crate::db::reviews::NewReview;
use crate::faults;
use crate::flows::checkout::open_checkout::{has_ended, names};
use crate::flows::questions::Questions;
use crate::wake::Wake;

/// Refusals after which a person takes over.
const ATTEMPTS: i32 = 5;

/// The time between two attempts.
const PAUSE: TimeDelta = TimeDelta::minutes(1);

/// How soon it is looked again what became of a hold: a person or the bank ends it in days.
const HOLD_PAUSE: TimeDelta = TimeDelta::hours(1);

/// What canceling invoices needs.
#[derive(Clone)]
pub struct CancelInvoices {
    pub db: PgPool,
    pub moyasar: Moyasar,
    /// How long an invoice belongs to whoever claimed it.
    pub lease: TimeDelta,
    pub clock: Clock,
    pub wake: Wake,
}

/// What is to be done about an invoice that is one too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// It can be paid, and should not be.
    Cancel,
    /// It can no longer be paid.
    Ended,
    /// Somebody has paid: that is settled like any other payment.
    Settle,
    /// Somebody's money is held, not taken: the hold is captured or let go first.
    Held,
    /// It is none of this checkout's.
    NotOurs,
}

impl CancelInvoices {
    /// Deals with the invoice that waits for longest; `false` when none does, or the provider is away.
    pub async fn cancel_one(&self) -> sqlx::Result<bool> {
        let (token, now) = (Uuid::new_v4(), self.clock.now());
        let claim = db::invoices::claim_cancel(&self.db, token, now, now + self.lease);
        let claimed = db::in_time(claim).await?;
        let Some(claimed) = claimed else { return Ok(false) };
        faults::step("surplus_claimed");
        let verdict = self.try_to_cancel(&claimed).await;
        db::in_time(Box::pin(self.write(&claimed, token, verdict))).await
    }

    /// Writes down what came of it.
    async fn write(
        &self,
        claimed: &ClaimedCancel,
        token: Uuid,
        verdict: Result<Verdict, ClientError>,
    ) -> sqlx::Result<bool> {
        match verdict {
            Ok(Verdict::Cancel | Verdict::Ended) => self.finish(claimed, token, "canceled").await,
            Ok(Verdict::Settle) => {
                let (checkout, now) = (claimed.checkout_id, self.clock.now());
                db::looks::prompt(&self.db, checkout, TimeDelta::zero(), now).await?;
                self.wake.checkouts.notify_one();
                self.finish(claimed, token, "paid").await
            }
            Ok(Verdict::Held) => {
                self.release(claimed, token, claimed.failures, "held", HOLD_PAUSE).await?;
                Ok(true)
            }
            Ok(Verdict::NotOurs) => {
                self.ask_person(claimed, token, "it does not name this checkout").await
            }
            Err(error) if error.is_refusal() && claimed.failures + 1 >= ATTEMPTS => {
                self.ask_person(claimed, token, "the provider does not cancel it").await
            }
            Err(error) => self.wait(claimed, token, &error).await.map(|()| error.is_refusal()),
        }
    }

    /// Looks before it acts, and again when the provider refuses: what it refuses has usually ended.
    async fn try_to_cancel(&self, claimed: &ClaimedCancel) -> Result<Verdict, ClientError> {
        let look = async || {
            let invoice = self.moyasar.fetch_invoice(&claimed.id).await?;
            Ok::<_, ClientError>(verdict(&invoice, claimed))
        };
        match look().await? {
            Verdict::Cancel => match self.moyasar.cancel_invoice(&claimed.id).await {
                Ok(_) => {
                    faults::step("surplus_canceled");
                    Ok(Verdict::Cancel)
                }
                Err(error) if error.is_refusal() => match look().await? {
                    Verdict::Cancel => Err(error),
                    changed @ (Verdict::Ended
                    | Verdict::Settle
                    | Verdict::Held
                    | Verdict::NotOurs) => Ok(changed),
                },
                Err(error) => Err(error),
            },
            other @ (Verdict::Ended | Verdict::Settle | Verdict::Held | Verdict::NotOurs) => {
                Ok(other)
            }
        }
    }

    async fn finish(
        &self,
        claimed: &ClaimedCancel,
        token: Uuid,
        outcome: &str,
    ) -> sqlx::Result<bool> {
        db::invoices::finish_cancel(&self.db, &claimed.id, token, outcome).await?;
        faults::step("surplus_noted");
        Ok(true)
    }

    async fn ask_person(
        &self,
        claimed: &ClaimedCancel,
        token: Uuid,
        cause: &str,
    ) -> sqlx::Result<bool> {
        let difference = format!("invoice {} is one too many: {cause}", claimed.id);
        let question = NewReview {
            kind: "surplus_invoice",
            payment_id: None,
            checkout_id: Some(claimed.checkout_id),
            event_id: None,
            difference: &difference,
            opened_at: self.clock.now(),
        };
        let (mut tx, mut questions) = (self.db.begin().await?, Questions::default());
        questions.ask(&mut *tx, &question).await?;
        if db::invoices::finish_cancel(&mut *tx, &claimed.id, token, "given_up").await? {
            faults::step("surplus_unasked");
            tx.commit().await?;
            faults::step("surplus_asked");
            questions.announce(&self.wake);
        }
        Ok(true)
    }

    /// The provider refused, or was not there; only a refusal counts.
    async fn wait(
        &self,
        claimed: &ClaimedCancel,
        token: Uuid,
        error: &ClientError,
    ) -> sqlx::Result<()> {
        let ClaimedCancel { id, failures, .. } = claimed;
        tracing::warn!(invoice.id = id, error = %error, "An invoice was not canceled: {error}");
        let failures = failures + i32::from(error.is_refusal());
        self.release(claimed, token, failures, error.class(), PAUSE).await
    }

    async fn release(
        &self,
        claimed: &ClaimedCancel,
        token: Uuid,
        failures: i32,
        outcome: &str,
        pause: TimeDelta,
    ) -> sqlx::Result<()> {
        let next: DateTime<Utc> = self.clock.now() + pause;
        db::invoices::release_cancel(&self.db, &claimed.id, token, failures, outcome, next).await
    }
}

fn verdict(invoice: &Invoice, claimed: &ClaimedCancel) -> Verdict {
    // Of a payment, and of the invoice that follows it.
    let is_held = |status: &str| matches!(status, "authorized" | "on_hold");
    let is_settled = |status: &str| {
        let is_open = matches!(status, "" | "initiated" | "failed" | "abandoned");
        !is_open && !has_ended(status) && !is_held(status)
    };
    if !names(invoice, claimed.checkout_id) {
        Verdict::NotOurs
    } else if is_settled(&invoice.status)
        || invoice.payments.iter().any(|payment| is_settled(&payment.status))
    {
        Verdict::Settle
    } else if is_held(&invoice.status)
        || invoice.payments.iter().any(|payment| is_held(&payment.status))
    {
        Verdict::Held
    } else if has_ended(&invoice.status) {
        Verdict::Ended
    } else {
        Verdict::Cancel
    }
}
