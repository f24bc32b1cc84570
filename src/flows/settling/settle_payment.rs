//! Settle a payment as the provider shows it now: inside one transaction, with every effect once.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgTransaction;
use uuid::Uuid;

use crate::clients::moyasar::Payment;
use crate::db;
use crate::db::audit_log::NewAudit;
use crate::db::checkouts::Checkout;
use crate::db::payments::{Grant, Others};
use crate::db::reviews::NewReview;
use crate::db::subscriptions::Held;
use crate::domain::checkout::{CheckoutId, CheckoutStatus};
use crate::domain::funnel::{Analytics, FunnelEvent, Occurrence};
use crate::domain::money::Halalas;
use crate::domain::payment::{
    Bill, Effect, Fetched, PaymentStatus, Recorded, Settlement, Standing, remember, settle,
};
use crate::domain::subscription::{PlanChange, Subscription};
use crate::flows::questions::Questions;

/// The kind of question when one of several payments of a subscription was given back.
const ONE_OF_SEVERAL: &str = "one_of_several_reversed";

/// Characters that are kept of a status, a currency or a coupon.
const LONGEST_WORD: usize = 64;

/// Characters that are kept of what the bank said.
const LONGEST_MESSAGE: usize = 500;

/// What prompted the settling, and when.
#[derive(Clone, Copy, Debug)]
pub(in crate::flows) struct Context<'a> {
    pub analytics: Analytics,
    /// The checkout that claims the payment's invoice as its own, where we had not heard of it.
    pub adopted_by: Option<CheckoutId>,
    pub request_id: &'a str,
    pub now: DateTime<Utc>,
}

/// An event that told us of a payment: its body is never believed, but a contradiction is a question to
/// a person.
#[derive(Clone, Copy, Debug)]
pub(in crate::flows) struct Prompt<'a> {
    pub event: Uuid,
    pub body: &'a [u8],
}

/// What settling a payment came to, once its transaction is committed.
#[must_use]
#[derive(Debug)]
pub(in crate::flows) struct Settled {
    /// What became of it, in a word.
    pub outcome: &'static str,
    pub questions: Questions,
}

/// Applies `payment` to its checkout, and tells what became of it.
pub(in crate::flows) async fn settle_payment(
    tx: &mut PgTransaction<'_>,
    payment: &Payment,
    prompts: &[Prompt<'_>],
    context: Context<'_>,
) -> sqlx::Result<Settled> {
    let fetched = facts(payment);
    // First of all: whose it is must not change while it is decided about.
    let recorded = db::payments::lock(tx, &payment.id).await?;
    let checkout_id = find_checkout(tx, payment).await?.or(context.adopted_by);
    let questions = Questions::default();
    let mut settling = Settling { tx, payment, fetched: &fetched, context, questions };
    let outcome = match checkout_id {
        None => settling.hold_foreign(recorded.as_ref()).await?,
        Some(checkout_id) => {
            let checkout = db::checkouts::lock(settling.tx, checkout_id).await?;
            for prompt in prompts {
                settling.question_contradictions(&checkout, prompt).await?;
            }
            settling.apply(&checkout, recorded.as_ref()).await?
        }
    };
    Ok(Settled { outcome, questions: settling.questions })
}

/// Whose payment it is: the invoice tells, and where it does not, what we settled before. What was
/// granted for a payment must stay within reach of its refund.
async fn find_checkout(
    tx: &mut PgTransaction<'_>,
    payment: &Payment,
) -> sqlx::Result<Option<CheckoutId>> {
    if let Some(invoice) = &payment.invoice_id
        && let Some(checkout) = db::invoices::find_checkout(&mut **tx, invoice).await?
    {
        return Ok(Some(checkout));
    }
    db::payments::find_checkout(&mut **tx, &payment.id).await
}

/// One payment being settled.
struct Settling<'a, 'tx> {
    tx: &'a mut PgTransaction<'tx>,
    payment: &'a Payment,
    fetched: &'a Fetched,
    context: Context<'a>,
    questions: Questions,
}

impl Settling<'_, '_> {
    async fn apply(
        &mut self,
        checkout: &Checkout,
        recorded: Option<&Recorded>,
    ) -> sqlx::Result<&'static str> {
        let id = &self.payment.id;
        let others = db::payments::get_others(self.tx, checkout.id, id).await?;
        let held = db::subscriptions::lock(self.tx, &checkout.subscriber).await?;
        let bill = self.bill(checkout, others, held.as_ref());
        let Settlement { record, effects } = settle(&bill, recorded, self.fetched);
        self.store(Some(checkout), &record).await?;
        let mut outcome = "recorded";
        for effect in &effects {
            let (id, now) = (&self.payment.id, self.context.now);
            // Nobody else can have claimed it: the payment is locked. The key is the last guard.
            if db::payments::claim_effect(&mut **self.tx, id, &effect.key(), now).await? {
                let happened = self.bring_about(checkout, effect, &record, others).await?;
                outcome = happened.unwrap_or(outcome);
            }
        }
        if recorded != Some(&record) {
            self.audit(recorded, &record).await?;
        }
        Ok(outcome)
    }

    fn bill(&self, checkout: &Checkout, others: Others, held: Option<&Held>) -> Bill {
        let is_over = matches!(
            checkout.status,
            CheckoutStatus::Expired | CheckoutStatus::Canceled | CheckoutStatus::Failed
        );
        let current = held.map(|held| &held.subscription);
        let granted = Subscription::granted(current, &checkout.plan_id, self.paid_at(checkout));
        Bill {
            amount: checkout.amount,
            currency: checkout.currency.clone(),
            is_paid_by_another: others.has_paid,
            // Whoever begins to pay after the time is over pays for what may no longer be sold so.
            is_closed: is_over || self.began_at(checkout) > checkout.expires_at,
            plan_change: granted.err(),
        }
    }

    /// Makes one effect happen.
    async fn bring_about(
        &mut self,
        checkout: &Checkout,
        effect: &Effect,
        record: &Recorded,
        others: Others,
    ) -> sqlx::Result<Option<&'static str>> {
        let now = self.context.now;
        match effect {
            Effect::Grant => {
                self.grant(checkout).await?;
                Ok(Some("granted"))
            }
            Effect::Reverse => {
                self.reverse(checkout).await?;
                Ok(Some("reversed"))
            }
            Effect::Return(total) => {
                // The buyer has the money back, unless another payment still needs a person.
                if !others.has_paid && !others.is_held {
                    self.set_status(checkout, CheckoutStatus::Refunded).await?;
                    db::checkouts::set_refunded(self.tx, checkout.id, *total, now).await?;
                }
                Ok(Some("returned"))
            }
            Effect::NoteRefund(total) => {
                db::checkouts::set_refunded(self.tx, checkout.id, *total, now).await?;
                Ok(None)
            }
            Effect::NoteAttempt(status) => {
                self.note_attempt(checkout, status).await?;
                Ok(Some("attempt_ended"))
            }
            Effect::Review(doubt) => {
                self.review(doubt.kind(), Some(checkout), &doubt.to_string()).await?;
                if record.standing == Standing::Held && !others.has_paid {
                    self.set_status(checkout, CheckoutStatus::Review).await?;
                }
                Ok(Some("review"))
            }
        }
    }

    async fn grant(&mut self, checkout: &Checkout) -> sqlx::Result<()> {
        let (now, paid_at) = (self.context.now, self.paid_at(checkout));
        let current = db::subscriptions::lock(self.tx, &checkout.subscriber).await?;
        let current = current.map(|held| held.subscription);
        // The bill was made under the same lock: no other plan runs.
        if let Ok(next) = Subscription::granted(current.as_ref(), &checkout.plan_id, paid_at) {
            let (subscriber, id) = (&checkout.subscriber, &self.payment.id);
            db::subscriptions::upsert(self.tx, subscriber, &next, id, now).await?;
        }
        db::checkouts::set_paid(self.tx, checkout.id, paid_at, now).await?;
        self.tell(checkout, FunnelEvent::PaymentSucceeded).await
    }

    /// Takes back what the payment granted: the subscription becomes what its other payments make of it.
    /// It ends if they leave it no time; if it goes on, a person is told, who may see it otherwise.
    async fn reverse(&mut self, checkout: &Checkout) -> sqlx::Result<()> {
        if let Some(held) = db::subscriptions::lock(self.tx, &checkout.subscriber).await? {
            let others = db::payments::list_grants(self.tx, &checkout.subscriber).await?;
            self.rest_on(checkout, held, &others).await?;
        }
        self.set_status(checkout, CheckoutStatus::Refunded).await
    }

    /// Lets a subscription rest on these payments alone.
    async fn rest_on(
        &mut self,
        checkout: &Checkout,
        held: Held,
        grants: &[Grant],
    ) -> sqlx::Result<()> {
        let (now, subscriber) = (self.context.now, &checkout.subscriber);
        let paid = grants.iter().map(|grant| (grant.plan_id.as_str(), grant.paid_at));
        let (left, newest) = match (Subscription::of_grants(paid), grants.last()) {
            (Ok(Some(left)), Some(newest)) if now < left.current_period_end => (left, newest),
            (Ok(_), _) => {
                let (canceled, id) = (held.subscription.canceled(), &self.payment.id);
                return db::subscriptions::upsert(self.tx, subscriber, &canceled, id, now).await;
            }
            (Err(PlanChange { from, to }), _) => {
                let difference =
                    format!("the payments that are left are for `{from}` and for `{to}`");
                return self.review(ONE_OF_SEVERAL, Some(checkout), &difference).await;
            }
        };
        db::subscriptions::upsert(self.tx, subscriber, &left, &newest.payment_id, now).await?;
        let difference = format!(
            "the subscription goes on until {}: payment {} was not given back",
            left.current_period_end.to_rfc3339_opts(SecondsFormat::Secs, true),
            newest.payment_id
        );
        self.review(ONE_OF_SEVERAL, Some(checkout), &difference).await
    }

    async fn note_attempt(
        &mut self,
        checkout: &Checkout,
        status: &PaymentStatus,
    ) -> sqlx::Result<()> {
        let (message, began_at) = (self.fetched.message.as_deref(), self.began_at(checkout));
        let (id, now) = (checkout.id, self.context.now);
        db::checkouts::set_last_attempt(self.tx, id, status, message, began_at, now).await?;
        if *status == PaymentStatus::Failed {
            self.tell(checkout, FunnelEvent::PaymentFailed).await?;
        }
        Ok(())
    }

    /// A payment that is none of our checkouts': somebody must look, nothing is granted.
    async fn hold_foreign(&mut self, recorded: Option<&Recorded>) -> sqlx::Result<&'static str> {
        // Nothing is decided about it: should its checkout turn up, it is settled like any other.
        let record = remember(recorded, self.fetched);
        self.store(None, &record).await?;
        let difference = match &self.payment.invoice_id {
            Some(invoice) => format!("no checkout of ours has invoice {invoice}"),
            None => "the payment was made without an invoice".to_owned(),
        };
        self.review("unknown_invoice", None, &difference).await?;
        if recorded != Some(&record) {
            self.audit(recorded, &record).await?;
        }
        Ok("review")
    }

    /// What the prompt says and the provider does not: the provider is believed, a person is told.
    async fn question_contradictions(
        &mut self,
        checkout: &Checkout,
        prompt: &Prompt<'_>,
    ) -> sqlx::Result<()> {
        let Ok(Body { data: Some(claim) }) = serde_json::from_slice::<Body>(prompt.body) else {
            return Ok(());
        };
        let claimed_amount = claim.amount.as_ref().and_then(serde_json::Value::as_i64);
        let mut differences = Vec::new();
        if claim.amount.is_some() && claimed_amount != Some(self.fetched.amount.0) {
            differences.push("amount");
        }
        let differs = |claimed: Option<&serde_json::Value>, fetched: Option<&str>| {
            claimed.is_some_and(|claimed| claimed.as_str() != fetched)
        };
        if differs(claim.currency.as_ref(), self.payment.currency.as_deref()) {
            differences.push("currency");
        }
        if differs(claim.invoice_id.as_ref(), self.payment.invoice_id.as_deref()) {
            differences.push("invoice_id");
        }
        if differences.is_empty() {
            return Ok(());
        }
        let fields = differences.join(", ");
        let difference = format!("the event's {fields} is not the provider's");
        self.review_event(Some(prompt.event), "body_mismatch", Some(checkout), &difference).await
    }

    async fn store(&mut self, checkout: Option<&Checkout>, record: &Recorded) -> sqlx::Result<()> {
        let Payment { id, invoice_id, .. } = self.payment;
        let checkout = checkout.map(|checkout| checkout.id);
        let (invoice, now) = (invoice_id.as_deref(), self.context.now);
        db::payments::upsert(self.tx, id, invoice, checkout, self.fetched, record, now).await
    }

    async fn set_status(
        &mut self,
        checkout: &Checkout,
        status: CheckoutStatus,
    ) -> sqlx::Result<()> {
        db::checkouts::set_status(self.tx, checkout.id, status, self.context.now).await
    }

    /// Asks about the payment, whichever of its events brought it up.
    async fn review(
        &mut self,
        kind: &'static str,
        checkout: Option<&Checkout>,
        difference: &str,
    ) -> sqlx::Result<()> {
        self.review_event(None, kind, checkout, difference).await
    }

    async fn review_event(
        &mut self,
        event_id: Option<Uuid>,
        kind: &'static str,
        checkout: Option<&Checkout>,
        difference: &str,
    ) -> sqlx::Result<()> {
        let review = NewReview {
            kind,
            payment_id: Some(&self.payment.id),
            checkout_id: checkout.map(|checkout| checkout.id),
            event_id,
            difference,
            opened_at: self.context.now,
        };
        self.questions.ask(&mut **self.tx, &review).await
    }

    async fn tell(&mut self, checkout: &Checkout, event: FunnelEvent) -> sqlx::Result<()> {
        let occurrence = Occurrence::new(event, checkout.distinct_id.as_str(), self.context.now)
            .with("checkout_id", checkout.id.to_string())
            .with("plan", checkout.plan_id.as_str())
            .with("amount_halalas", self.fetched.amount.0)
            .with("currency", self.fetched.currency.as_str());
        let Context { analytics, request_id, .. } = self.context;
        db::outbox::insert(self.tx, &occurrence, analytics, Some(request_id)).await
    }

    async fn audit(&mut self, before: Option<&Recorded>, after: &Recorded) -> sqlx::Result<()> {
        let audit = NewAudit {
            actor: "settle_payment",
            action: "payment.settled",
            subject: &self.payment.id,
            reason: None,
            before: before.map(summary),
            after: Some(summary(after)),
            request_id: Some(self.context.request_id),
            happened_at: self.context.now,
        };
        db::audit_log::insert(&mut **self.tx, &audit).await
    }

    /// When the customer began to pay: the provider knows better than the hour at which we heard of it.
    /// Later changes move `updated_at`, so the beginning of the payment counts. Nobody pays a checkout
    /// before there is one.
    fn began_at(&self, checkout: &Checkout) -> DateTime<Utc> {
        let Payment { created_at, updated_at, .. } = self.payment;
        let began_at = created_at.or(*updated_at).unwrap_or(self.context.now);
        began_at.max(checkout.created_at).min(self.context.now)
    }

    /// When the money was taken: of a hold, when it was captured.
    fn paid_at(&self, checkout: &Checkout) -> DateTime<Utc> {
        let began_at = self.began_at(checkout);
        let captured_at =
            self.payment.captured_at.filter(|_| self.fetched.captured > Halalas::ZERO);
        captured_at.unwrap_or(began_at).max(began_at).min(self.context.now)
    }
}

fn summary(record: &Recorded) -> serde_json::Value {
    json!({
        "status": record.status.name(),
        "standing": record.standing,
        "refunded_halalas": record.refunded,
        "captured_halalas": record.captured,
    })
}

/// What the provider's answer says about money. An amount that it does not name is nothing, which no
/// bill of ours is equal to.
fn facts(payment: &Payment) -> Fetched {
    let halalas = |amount: Option<i64>| Halalas(amount.unwrap_or_default());
    Fetched {
        status: PaymentStatus::from_name(&text(&payment.status, LONGEST_WORD)),
        amount: halalas(payment.amount),
        currency: text(payment.currency.as_deref().unwrap_or_default(), LONGEST_WORD),
        refunded: halalas(payment.refunded),
        captured: halalas(payment.captured),
        updated_at: payment.updated_at,
        message: payment.message().map(|message| text(message, LONGEST_MESSAGE)),
        coupon: coupon(&payment.metadata).map(|coupon| text(&coupon, LONGEST_WORD)),
    }
}

/// As much of a provider's text as is kept. Postgres takes no U+0000 in a text, and no long one in a key.
fn text(text: &str, longest: usize) -> String {
    text.chars().filter(|letter| *letter != '\0').take(longest).collect()
}

/// The coupon that the provider took something off for: it says so in metadata of its own.
fn coupon(metadata: &serde_json::Value) -> Option<String> {
    let coupon = metadata.get("#coupon_code").or_else(|| metadata.get("#coupon_id"))?;
    Some(coupon.as_str().map_or_else(|| coupon.to_string(), str::to_owned))
}

/// The part of an event's body that is compared with the provider's own answer.
#[derive(Deserialize)]
struct Body {
    data: Option<Claim>,
}

#[derive(Deserialize)]
struct Claim {
    amount: Option<serde_json::Value>,
    currency: Option<serde_json::Value>,
    invoice_id: Option<serde_json::Value>,
}
