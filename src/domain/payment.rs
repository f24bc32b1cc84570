//! Payments: what a payment at the provider means for the checkout it belongs to.
//!
//! [`settle`] is the whole state machine: a pure function of what we billed, what we have recorded
//! and what the provider shows now. Webhooks only prompt it; their order, number and content do not
//! matter. Facts about the statuses: the provider's payment reference, 1.4.
//!
//! What we know of a payment only grows: the furthest status, the highest totals, the newest time, and
//! whether money was ever taken. So whichever of its snapshots are seen, in whatever order and however
//! often, the record ends the same, and what was granted, taken back or held ends the same. What was
//! worth a word only while it was news (an attempt that ended, a status we do not know, a total on the
//! way to a larger one) is said if it was the newest when it was seen, at most once.
//! Two things depend on order by their nature: of several payments of one checkout the first that is
//! settled is granted, and where the provider gives no times, or the same, what has come further counts
//! as newer.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::domain::money::Halalas;
use crate::domain::subscription::PlanChange;

mod doubt;
#[cfg(test)]
mod model;
mod status;
#[cfg(test)]
mod tests;

pub use doubt::Doubt;
pub use status::PaymentStatus;

/// A payment as the provider shows it now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetched {
    /// Its status.
    pub status: PaymentStatus,
    /// What it charges.
    pub amount: Halalas,
    /// In which currency.
    pub currency: String,
    /// What was given back so far, in total.
    pub refunded: Halalas,
    /// What was captured of a hold; zero on ordinary payments.
    pub captured: Halalas,
    /// When it last changed there.
    pub updated_at: Option<DateTime<Utc>>,
    /// What the bank said, for the payer's eyes.
    pub message: Option<String>,
    /// The coupon that changed the amount, if it names one.
    pub coupon: Option<String>,
}

/// A payment as we have recorded it: all that we ever knew of it, put together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// The furthest status that was seen.
    pub status: PaymentStatus,
    /// What was given back so far, in total.
    pub refunded: Halalas,
    /// What was captured of a hold.
    pub captured: Halalas,
    /// When it last changed at the provider.
    pub updated_at: Option<DateTime<Utc>>,
    /// What we have done about it.
    pub standing: Standing,
    /// The keys of the effects that it has had.
    pub done: BTreeSet<String>,
}

/// What we have done about a payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Standing {
    /// Nothing yet.
    Open,
    /// A person must look; nothing was granted for it.
    Held,
    /// It was held, and all of it was given back: nothing is left of it.
    Returned,
    /// What was paid for was granted.
    Granted,
    /// What was granted was taken back.
    Reversed,
}

/// What we asked the customer to pay, locked while we decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bill {
    /// How much.
    pub amount: Halalas,
    /// In which currency.
    pub currency: String,
    /// Whether another payment has already paid it.
    pub is_paid_by_another: bool,
    /// Whether it could no longer be paid when we last looked.
    pub is_closed: bool,
    /// The subscription to another plan that runs, if one does.
    pub plan_change: Option<PlanChange>,
}

/// What must happen because of a payment, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Grant what was paid for.
    Grant,
    /// Take back what was granted.
    Reverse,
    /// Nothing was granted, and the money is gone again: nothing is left to decide.
    Return(Halalas),
    /// Remember how much of what was granted was given back.
    NoteRefund(Halalas),
    /// Tell the buyer how the attempt ended; the checkout can still be paid.
    NoteAttempt(PaymentStatus),
    /// Ask a person.
    Review(Doubt),
}

impl Effect {
    /// What makes it happen once for a payment.
    pub fn key(&self) -> String {
        match self {
            Self::Grant => "granted".to_owned(),
            Self::Reverse => "reversed".to_owned(),
            Self::Return(_) => "returned".to_owned(),
            Self::NoteRefund(total) => format!("refunded:{}", total.0),
            Self::NoteAttempt(status) => format!("attempt:{}", status.name()),
            Self::Review(doubt) => format!("review:{}:{doubt}", doubt.kind()),
        }
    }
}

/// What became of a payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settlement {
    /// What to record of it.
    pub record: Recorded,
    /// What must happen now, because it has not happened before.
    pub effects: Vec<Effect>,
}

/// Decides what a payment means. Each effect comes up once.
pub fn settle(bill: &Bill, recorded: Option<&Recorded>, fetched: &Fetched) -> Settlement {
    let news = recorded.map_or(News::Newer, |recorded| News::of(recorded, fetched));
    let mut wanted = Vec::new();
    if let Some(doubt) = recorded.and_then(|recorded| went_back(recorded, fetched)) {
        wanted.push(Effect::Review(doubt));
    }
    let mut record = merge(recorded, fetched, news);
    let charged = charged(fetched);
    match (record.standing, charged) {
        (Standing::Open, Some(charged)) => {
            if let Some(doubt) = doubt(bill, fetched, charged) {
                record.standing = Standing::Held;
                wanted.push(Effect::Review(doubt));
            } else {
                record.standing = Standing::Granted;
                wanted.push(Effect::Grant);
            }
        }
        (Standing::Held | Standing::Granted, Some(charged)) if news == News::Newer => {
            wanted.extend(second_thought(bill, &record, fetched, charged).map(Effect::Review));
        }
        (
            Standing::Open
            | Standing::Held
            | Standing::Returned
            | Standing::Granted
            | Standing::Reversed,
            _,
        ) => (),
    }
    give_back(bill, &mut record, fetched, &mut wanted);
    if news == News::Newer {
        wanted.extend(passing(recorded, &record, fetched));
    }
    let effects = wanted.into_iter().filter(|effect| record.done.insert(effect.key())).collect();
    Settlement { record, effects }
}

/// All that is known now of a payment about which nothing can be decided: nobody knows its bill.
pub fn remember(recorded: Option<&Recorded>, fetched: &Fetched) -> Recorded {
    let news = recorded.map_or(News::Newer, |recorded| News::of(recorded, fetched));
    merge(recorded, fetched, news)
}

/// How what the provider shows relates to what we know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    Newer,
    Older,
}

impl News {
    fn of(recorded: &Recorded, fetched: &Fetched) -> Self {
        let is_older = match (recorded.updated_at, fetched.updated_at) {
            (Some(before), Some(now)) if before != now => now < before,
            // Without a time to compare, or at the same instant, what has come further is newer.
            _ => {
                (fetched.status.rank(), fetched.refunded, fetched.captured)
                    < (recorded.status.rank(), recorded.refunded, recorded.captured)
            }
        };
        if is_older { Self::Older } else { Self::Newer }
    }
}

/// All that is known now. A payment does not go back, whatever the provider says next.
fn merge(recorded: Option<&Recorded>, fetched: &Fetched, news: News) -> Recorded {
    let Some(recorded) = recorded else {
        return Recorded {
            status: fetched.status.clone(),
            refunded: fetched.refunded,
            captured: fetched.captured,
            updated_at: fetched.updated_at,
            standing: Standing::Open,
            done: BTreeSet::new(),
        };
    };
    let (before, now) = (recorded.status.rank(), fetched.status.rank());
    let is_further = before < now || (before == now && news == News::Newer);
    let status = if is_further { &fetched.status } else { &recorded.status };
    Recorded {
        status: status.clone(),
        refunded: fetched.refunded.max(recorded.refunded),
        captured: fetched.captured.max(recorded.captured),
        updated_at: fetched.updated_at.max(recorded.updated_at),
        standing: recorded.standing,
        done: recorded.done.clone(),
    }
}

/// Whether the provider says less of money now than it did before.
fn went_back(recorded: &Recorded, fetched: &Fetched) -> Option<Doubt> {
    let is_later = recorded.updated_at.is_some() && recorded.updated_at < fetched.updated_at;
    let is_unknown = matches!(fetched.status, PaymentStatus::Other(_));
    let is_less = fetched.refunded < recorded.refunded
        || (fetched.status.rank() < recorded.status.rank() && !is_unknown);
    let (from, to) = (recorded.status.clone(), fetched.status.clone());
    (is_later && recorded.status.is_money() && is_less).then_some(Doubt::WentBack { from, to })
}

/// The money that the payment took, if it ever took any. A refunded payment did, even when we never
/// saw it paid, and so did a voided one that had been captured. Of any other voided one nobody can
/// tell, and nothing is left of it.
fn charged(fetched: &Fetched) -> Option<Halalas> {
    let captured = fetched.captured;
    match fetched.status {
        PaymentStatus::Paid => Some(fetched.amount),
        PaymentStatus::Refunded if captured == Halalas::ZERO => Some(fetched.amount),
        PaymentStatus::Captured | PaymentStatus::Refunded => Some(captured),
        PaymentStatus::Voided => (captured > Halalas::ZERO).then_some(captured),
        PaymentStatus::Initiated
        | PaymentStatus::Authorized
        | PaymentStatus::Verified
        | PaymentStatus::Failed
        | PaymentStatus::Abandoned
        | PaymentStatus::Expired
        | PaymentStatus::Canceled
        | PaymentStatus::Other(_) => None,
    }
}

/// Why this money must not be taken for the bill's.
fn doubt(bill: &Bill, fetched: &Fetched, charged: Halalas) -> Option<Doubt> {
    if let Some(doubt) = mismatch(bill, fetched, charged) {
        return Some(doubt);
    }
    if bill.is_paid_by_another {
        return Some(Doubt::SecondPayment);
    }
    if bill.is_closed {
        return Some(Doubt::LatePayment);
    }
    let PlanChange { from, to } = bill.plan_change.clone()?;
    Some(Doubt::PlanChange { from, to })
}

/// How this money is not what was billed.
fn mismatch(bill: &Bill, fetched: &Fetched, charged: Halalas) -> Option<Doubt> {
    if fetched.currency != bill.currency {
        let (billed, charged) = (bill.currency.clone(), fetched.currency.clone());
        return Some(Doubt::CurrencyMismatch { billed, charged });
    }
    let coupon = fetched.coupon.clone();
    let doubt = || Doubt::AmountMismatch { billed: bill.amount, charged, coupon };
    (charged != bill.amount).then(doubt)
}

/// What is new about money that was decided about before: whether it fits its bill has changed. A
/// person decides; nothing that is held is ever granted by itself.
fn second_thought(
    bill: &Bill,
    record: &Recorded,
    fetched: &Fetched,
    charged: Halalas,
) -> Option<Doubt> {
    let asked = |kind: &str| {
        let start = format!("review:{kind}:");
        record.done.iter().any(|key| key.starts_with(&start))
    };
    let was_mismatch = asked(doubt::AMOUNT_MISMATCH) || asked(doubt::CURRENCY_MISMATCH);
    let fits_now = record.standing == Standing::Held && was_mismatch;
    mismatch(bill, fetched, charged).or_else(|| fits_now.then_some(Doubt::FitsNow))
}

/// What follows from money that was given back.
fn give_back(bill: &Bill, record: &mut Recorded, fetched: &Fetched, wanted: &mut Vec<Effect>) {
    let is_voided = record.status == PaymentStatus::Voided;
    let refunded = record.refunded;
    let has_refund = refunded > Halalas::ZERO;
    let was_captured = record.captured > Halalas::ZERO;
    let charged = if was_captured { record.captured } else { fetched.amount };
    match record.standing {
        // What was granted was charged as billed.
        Standing::Granted if is_voided || bill.amount <= refunded => {
            record.standing = Standing::Reversed;
            let given_back = if is_voided { bill.amount } else { refunded };
            wanted.extend([Effect::Reverse, Effect::NoteRefund(given_back)]);
        }
        Standing::Granted if has_refund => {
            let doubt = Doubt::PartialRefund { refunded, charged: bill.amount };
            wanted.extend([Effect::NoteRefund(refunded), Effect::Review(doubt)]);
        }
        Standing::Held if is_voided || (has_refund && charged <= refunded) => {
            record.standing = Standing::Returned;
            let refunded = if is_voided { charged } else { refunded };
            let doubt = Doubt::HeldRefund { refunded, charged };
            wanted.extend([Effect::Review(doubt), Effect::Return(refunded)]);
        }
        Standing::Held if has_refund => {
            wanted.push(Effect::Review(Doubt::HeldRefund { refunded, charged }));
        }
        Standing::Open
        | Standing::Held
        | Standing::Returned
        | Standing::Granted
        | Standing::Reversed => (),
    }
}

/// What is worth a word only while it is news.
fn passing(recorded: Option<&Recorded>, record: &Recorded, fetched: &Fetched) -> Vec<Effect> {
    let status = &fetched.status;
    let mut wanted = Vec::new();
    if let PaymentStatus::Other(name) = status {
        wanted.push(Effect::Review(Doubt::UnknownStatus(name.clone())));
    }
    let is_first = recorded.is_none_or(|recorded| recorded.status != *status);
    if *status != record.status || !is_first {
        return wanted;
    }
    if status.is_lost_attempt() {
        wanted.push(Effect::NoteAttempt(status.clone()));
    }
    if *status == PaymentStatus::Voided && record.standing == Standing::Open {
        wanted.push(Effect::NoteAttempt(status.clone()));
        if !recorded.is_some_and(|recorded| recorded.status.is_hold()) {
            wanted.push(Effect::Review(Doubt::VoidedUnseen));
        }
    }
    wanted
}
