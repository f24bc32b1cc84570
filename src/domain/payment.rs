//! Payments: what a payment at the provider means for the checkout it belongs to.
//!
//! [`settle`] is the whole state machine: a pure function of what we billed, what we have recorded
//! and what the provider shows now. Webhooks only prompt it; their order, number and content do not
//! matter. Facts about the statuses: the provider's payment reference, 1.4.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::domain::money::Halalas;

/// A payment's status at the provider. The set is open: new words may appear at any time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PaymentStatus {
    /// Waits for the payer.
    Initiated,
    /// A hold on the card; not money.
    Authorized,
    /// A card check; not money.
    Verified,
    /// Declined.
    Failed,
    /// Left by the payer.
    Abandoned,
    /// Not paid in time.
    Expired,
    /// Called off.
    Canceled,
    /// Charged in one step.
    Paid,
    /// A hold that was charged.
    Captured,
    /// Given back, in part or in full: only the totals tell.
    Refunded,
    /// Undone before settlement.
    Voided,
    /// A word we do not know.
    Other(String),
}

impl PaymentStatus {
    /// The status with that name.
    pub fn from_name(name: &str) -> Self {
        match name {
            "initiated" => Self::Initiated,
            "authorized" => Self::Authorized,
            "verified" => Self::Verified,
            "failed" => Self::Failed,
            "abandoned" => Self::Abandoned,
            "expired" => Self::Expired,
            "canceled" => Self::Canceled,
            "paid" => Self::Paid,
            "captured" => Self::Captured,
            "refunded" => Self::Refunded,
            "voided" => Self::Voided,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The provider's name of it.
    pub fn name(&self) -> &str {
        match self {
            Self::Initiated => "initiated",
            Self::Authorized => "authorized",
            Self::Verified => "verified",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
            Self::Paid => "paid",
            Self::Captured => "captured",
            Self::Refunded => "refunded",
            Self::Voided => "voided",
            Self::Other(name) => name,
        }
    }

    /// How far a payment has come; it never goes back.
    fn rank(&self) -> u8 {
        match self {
            Self::Other(_) => 0,
            Self::Initiated => 1,
            Self::Authorized | Self::Verified => 2,
            Self::Failed | Self::Abandoned | Self::Expired | Self::Canceled => 3,
            Self::Paid | Self::Captured => 4,
            Self::Refunded | Self::Voided => 5,
        }
    }
}

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
}

/// A payment as we have recorded it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Its status when we last looked.
    pub status: PaymentStatus,
    /// What was given back so far, in total.
    pub refunded: Halalas,
    /// What was captured of a hold.
    pub captured: Halalas,
    /// When it last changed at the provider.
    pub updated_at: Option<DateTime<Utc>>,
    /// What we have done about it.
    pub standing: Standing,
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
}

/// Why a person must look at a payment, with the difference spelled out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// Another amount was charged.
    AmountMismatch { billed: Halalas, charged: Halalas },
    /// Another currency was charged.
    CurrencyMismatch { billed: String, charged: String },
    /// The checkout had been paid by another payment.
    SecondPayment,
    /// The checkout had expired or had been called off.
    LatePayment,
    /// Some of the money was given back.
    PartialRefund { refunded: Halalas, charged: Halalas },
    /// The provider uses a word that we do not know.
    UnknownStatus(String),
}

impl Doubt {
    /// The stable name of the doubt.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AmountMismatch { .. } => "amount_mismatch",
            Self::CurrencyMismatch { .. } => "currency_mismatch",
            Self::SecondPayment => "second_payment",
            Self::LatePayment => "late_payment",
            Self::PartialRefund { .. } => "partial_refund",
            Self::UnknownStatus(_) => "unknown_status",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AmountMismatch { billed, charged } => {
                write!(
                    formatter,
                    "billed {} SAR, charged {} SAR",
                    billed.riyals(),
                    charged.riyals()
                )
            }
            Self::CurrencyMismatch { billed, charged } => {
                write!(formatter, "billed in {billed}, charged in {charged}")
            }
            Self::SecondPayment => {
                write!(formatter, "the checkout was already paid by another payment")
            }
            Self::LatePayment => write!(formatter, "the checkout was already closed"),
            Self::PartialRefund { refunded, charged } => {
                let (refunded, charged) = (refunded.riyals(), charged.riyals());
                write!(formatter, "{refunded} of {charged} SAR were given back")
            }
            Self::UnknownStatus(name) => {
                write!(formatter, "the payment is `{name}`, whatever that is")
            }
        }
    }
}

/// What must happen because of a payment, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Grant what was paid for.
    Grant,
    /// Take back what was granted.
    Reverse,
    /// Remember how much was given back.
    NoteRefund(Halalas),
    /// Tell the buyer how the attempt ended; the checkout can still be paid.
    NoteAttempt,
    /// Ask a person.
    Review(Doubt),
}

/// What became of a payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settlement {
    /// What to record of it.
    pub record: Recorded,
    /// What must happen.
    pub effects: Vec<Effect>,
}

/// Decides what a payment means. Every order of the same facts ends in the same record, and each
/// effect comes up once. One thing it cannot know: a payment that was voided before anybody saw it
/// paid may have been a mere hold; nothing was granted for it, and its checkout stays open.
pub fn settle(bill: &Bill, recorded: Option<&Recorded>, fetched: &Fetched) -> Settlement {
    if let Some(recorded) = recorded.filter(|recorded| is_stale(recorded, fetched)) {
        return Settlement { record: recorded.clone(), effects: Vec::new() };
    }
    // Whatever the provider says next, a payment does not go back: only its totals may still grow.
    let furthest = recorded
        .map(|recorded| &recorded.status)
        .filter(|status| fetched.status.rank() < status.rank());
    let status = furthest.unwrap_or(&fetched.status);
    let before = recorded.map_or(Standing::Open, |recorded| recorded.standing);
    let refunded_before = recorded.map_or(Halalas::ZERO, |recorded| recorded.refunded);
    let refunded = fetched.refunded.max(refunded_before);
    let mut effects = Vec::new();
    let mut standing = before;

    if let (Standing::Open, Some(charged)) = (before, charged(fetched)) {
        if let Some(doubt) = doubt(bill, fetched, charged) {
            standing = Standing::Held;
            effects.push(Effect::Review(doubt));
        } else {
            standing = Standing::Granted;
            effects.push(Effect::Grant);
        }
    }
    let is_voided = fetched.status == PaymentStatus::Voided;
    let charged = charged(fetched).unwrap_or(fetched.amount);
    if standing == Standing::Granted && (is_voided || charged <= refunded) {
        standing = Standing::Reversed;
        let given_back = if is_voided { charged } else { refunded };
        effects.extend([Effect::Reverse, Effect::NoteRefund(given_back)]);
    } else if refunded_before < refunded && standing == Standing::Granted {
        effects.push(Effect::NoteRefund(refunded));
        effects.push(Effect::Review(Doubt::PartialRefund { refunded, charged }));
    }
    let is_new = recorded.is_none_or(|recorded| recorded.status != fetched.status);
    match &fetched.status {
        PaymentStatus::Failed
        | PaymentStatus::Abandoned
        | PaymentStatus::Expired
        | PaymentStatus::Canceled
            if is_new && furthest.is_none() =>
        {
            effects.push(Effect::NoteAttempt);
        }
        PaymentStatus::Other(name) if is_new => {
            effects.push(Effect::Review(Doubt::UnknownStatus(name.clone())));
        }
        PaymentStatus::Initiated
        | PaymentStatus::Authorized
        | PaymentStatus::Verified
        | PaymentStatus::Failed
        | PaymentStatus::Abandoned
        | PaymentStatus::Expired
        | PaymentStatus::Canceled
        | PaymentStatus::Paid
        | PaymentStatus::Captured
        | PaymentStatus::Refunded
        | PaymentStatus::Voided
        | PaymentStatus::Other(_) => (),
    }
    let captured = recorded.map_or(Halalas::ZERO, |recorded| recorded.captured);
    let record = Recorded {
        status: status.clone(),
        refunded,
        captured: fetched.captured.max(captured),
        updated_at: fetched.updated_at,
        standing,
    };
    Settlement { record, effects }
}

/// Whether the provider showed us something newer before.
fn is_stale(recorded: &Recorded, fetched: &Fetched) -> bool {
    match (recorded.updated_at, fetched.updated_at) {
        (Some(before), Some(now)) if before != now => now < before,
        // Without a time to compare, or at the same instant, what has come further is newer.
        _ => {
            (fetched.status.rank(), fetched.refunded, fetched.captured)
                < (recorded.status.rank(), recorded.refunded, recorded.captured)
        }
    }
}

/// The money that the payment took, if it ever took any. A refunded payment did, even when we never
/// saw it paid; of a voided one nobody can tell, and nothing is left of it.
fn charged(fetched: &Fetched) -> Option<Halalas> {
    match fetched.status {
        PaymentStatus::Paid => Some(fetched.amount),
        PaymentStatus::Refunded if fetched.captured == Halalas::ZERO => Some(fetched.amount),
        PaymentStatus::Captured | PaymentStatus::Refunded => Some(fetched.captured),
        PaymentStatus::Initiated
        | PaymentStatus::Authorized
        | PaymentStatus::Verified
        | PaymentStatus::Failed
        | PaymentStatus::Abandoned
        | PaymentStatus::Expired
        | PaymentStatus::Canceled
        | PaymentStatus::Voided
        | PaymentStatus::Other(_) => None,
    }
}

/// Why this money must not be taken for the bill's.
fn doubt(bill: &Bill, fetched: &Fetched, charged: Halalas) -> Option<Doubt> {
    if fetched.currency != bill.currency {
        let (billed, charged) = (bill.currency.clone(), fetched.currency.clone());
        return Some(Doubt::CurrencyMismatch { billed, charged });
    }
    if charged != bill.amount {
        return Some(Doubt::AmountMismatch { billed: bill.amount, charged });
    }
    if bill.is_paid_by_another {
        return Some(Doubt::SecondPayment);
    }
    bill.is_closed.then_some(Doubt::LatePayment)
}

#[cfg(test)]
#[path = "payment_tests.rs"]
mod tests;
