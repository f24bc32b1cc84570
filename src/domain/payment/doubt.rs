//! Why a person must look at a payment, with the difference spelled out.

use std::fmt;

use crate::domain::money::Halalas;
use crate::domain::payment::PaymentStatus;

/// A question to a person. The words of it never change, so that one difference is asked about once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// Another amount was charged; a coupon may be why, but nobody told us of one.
    AmountMismatch { billed: Halalas, charged: Halalas, coupon: Option<String> },
    /// Another currency was charged.
    CurrencyMismatch { billed: String, charged: String },
    /// What is held for its amount or currency fits its bill by now.
    FitsNow,
    /// The checkout had been paid by another payment.
    SecondPayment,
    /// The checkout had expired or had been called off.
    LatePayment,
    /// A subscription to another plan runs.
    PlanChange { from: String, to: String },
    /// Some of the money was given back.
    PartialRefund { refunded: Halalas, charged: Halalas },
    /// Money that is held was given back, in part or in full.
    HeldRefund { refunded: Halalas, charged: Halalas },
    /// It was undone before anybody saw it paid: a mere hold, or money that was here for a while.
    VoidedUnseen,
    /// The provider took back what it had said of money.
    WentBack { from: PaymentStatus, to: PaymentStatus },
    /// The provider uses a word that we do not know.
    UnknownStatus(String),
}

impl Doubt {
    /// The stable name of the doubt.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AmountMismatch { .. } => AMOUNT_MISMATCH,
            Self::CurrencyMismatch { .. } => CURRENCY_MISMATCH,
            Self::FitsNow => "fits_now",
            Self::SecondPayment => "second_payment",
            Self::LatePayment => "late_payment",
            Self::PlanChange { .. } => "plan_change",
            Self::PartialRefund { .. } => "partial_refund",
            Self::HeldRefund { .. } => "held_refund",
            Self::VoidedUnseen => "voided_unseen",
            Self::WentBack { .. } => "went_back",
            Self::UnknownStatus(_) => "unknown_status",
        }
    }
}

pub(super) const AMOUNT_MISMATCH: &str = "amount_mismatch";
pub(super) const CURRENCY_MISMATCH: &str = "currency_mismatch";

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AmountMismatch { billed, charged, coupon } => {
                write!(f, "billed {} SAR, charged {} SAR", billed.riyals(), charged.riyals())?;
                match coupon {
                    Some(coupon) => write!(f, ", with coupon {coupon}"),
                    None => Ok(()),
                }
            }
            Self::CurrencyMismatch { billed, charged } => {
                write!(f, "billed in {billed}, charged in {charged}")
            }
            Self::FitsNow => write!(f, "the payment fits its bill now, and is still held"),
            Self::SecondPayment => {
                write!(f, "the checkout was already paid by another payment")
            }
            Self::LatePayment => write!(f, "the checkout was already closed"),
            Self::PlanChange { from, to } => {
                write!(f, "a subscription to `{from}` runs, `{to}` was paid for")
            }
            Self::PartialRefund { refunded, charged } => {
                write!(f, "{} of {} SAR were given back", refunded.riyals(), charged.riyals())
            }
            Self::HeldRefund { refunded, charged } => {
                let (refunded, charged) = (refunded.riyals(), charged.riyals());
                write!(f, "of money that is held {refunded} of {charged} SAR were given back")
            }
            Self::VoidedUnseen => {
                write!(f, "voided before it was seen paid: a hold, or a sale that was undone")
            }
            Self::WentBack { from, to } => {
                write!(f, "the payment was `{}` and is `{}` now", from.name(), to.name())
            }
            Self::UnknownStatus(name) => {
                write!(f, "the payment is `{name}`, whatever that is")
            }
        }
    }
}
