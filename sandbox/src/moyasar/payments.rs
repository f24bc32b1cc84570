//! The payment object and its life: authorised, paid, declined, captured, refunded, voided. Books keeps them.

pub(super) mod routes;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::cards::{Card, CardFlow, Verdict};
use super::errors::{ApiError, FieldErrors};
use super::money;
use crate::clock::{millis, optional_millis};

/// How long money that was taken at once can still be voided.
const VOID_WINDOW: TimeDelta = TimeDelta::hours(2);

/// Where a payment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Begun, the payer is at the bank's page.
    Initiated,
    /// Charged in one step.
    Paid,
    /// Money is held, not taken.
    Authorized,
    /// Declined.
    Failed,
    /// Given back, wholly or in part.
    Refunded,
    /// Held money was taken.
    Captured,
    /// Undone before settlement.
    Voided,
    /// A card check, no money.
    Verified,
    /// Never paid in time.
    Expired,
    /// Any word that a test wants to try.
    Other(String),
}

impl PaymentStatus {
    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Initiated => "initiated",
            Self::Paid => "paid",
            Self::Authorized => "authorized",
            Self::Failed => "failed",
            Self::Refunded => "refunded",
            Self::Captured => "captured",
            Self::Voided => "voided",
            Self::Verified => "verified",
            Self::Expired => "expired",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for PaymentStatus {
    fn from(word: &str) -> Self {
        match word {
            "initiated" => Self::Initiated,
            "paid" => Self::Paid,
            "authorized" => Self::Authorized,
            "failed" => Self::Failed,
            "refunded" => Self::Refunded,
            "captured" => Self::Captured,
            "voided" => Self::Voided,
            "verified" => Self::Verified,
            "expired" => Self::Expired,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl Serialize for PaymentStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A payment as every route and webhook shows it.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are the provider's, explained by its own reference")]
pub struct Payment {
    pub id: String,
    pub status: PaymentStatus,
    pub amount: i64,
    pub fee: i64,
    pub currency: String,
    pub refunded: i64,
    #[serde(serialize_with = "optional_millis")]
    pub refunded_at: Option<DateTime<Utc>>,
    pub captured: i64,
    #[serde(serialize_with = "optional_millis")]
    pub captured_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "optional_millis")]
    pub voided_at: Option<DateTime<Utc>>,
    pub description: Option<String>,
    pub amount_format: String,
    pub fee_format: String,
    pub refunded_format: String,
    pub captured_format: String,
    pub invoice_id: Option<String>,
    pub ip: Option<String>,
    pub callback_url: Option<String>,
    #[serde(serialize_with = "millis")]
    pub created_at: DateTime<Utc>,
    #[serde(serialize_with = "millis")]
    pub updated_at: DateTime<Utc>,
    pub metadata: Option<Map<String, Value>>,
    pub source: Source,
}

/// The card behind a payment.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields are the provider's, explained by its own reference")]
pub struct Source {
    pub r#type: &'static str,
    pub company: &'static str,
    pub name: String,
    pub number: String,
    pub gateway_id: String,
    pub reference_number: Option<String>,
    pub token: Option<String>,
    pub message: Option<String>,
    pub transaction_url: Option<String>,
    pub response_code: Option<String>,
    pub authorization_code: Option<String>,
    pub issuer_name: &'static str,
    pub issuer_country: &'static str,
    pub issuer_card_type: &'static str,
    pub issuer_card_category: &'static str,
}

/// What a payment is for.
pub(crate) struct Order<'a> {
    pub(crate) invoice_id: &'a str,
    pub(crate) page_url: &'a str,
    pub(crate) api_url: &'a str,
    pub(crate) amount: i64,
    pub(crate) currency: &'a str,
    pub(crate) description: &'a str,
}

impl Payment {
    /// A card meets an order: the bank decides, unless the payer is still at its page.
    pub(crate) fn attempt(order: &Order<'_>, card: &Card, now: DateTime<Utc>) -> Self {
        let verdict = card.verdict();
        let status = match (card.flow, verdict) {
            (CardFlow::Begin, _) => PaymentStatus::Initiated,
            (_, Verdict::Declined { .. } | Verdict::Unauthenticated { .. }) => {
                PaymentStatus::Failed
            }
            (CardFlow::Charge, Verdict::Approved) => PaymentStatus::Paid,
            (CardFlow::Authorize, Verdict::Approved) => PaymentStatus::Authorized,
        };
        let id = Uuid::new_v4().to_string();
        let mut source = Source::new(card);
        match card.flow {
            CardFlow::Charge | CardFlow::Authorize => source.settle(verdict),
            CardFlow::Begin => {
                source.transaction_url = Some(format!("{}card_auth/{id}/prepare", order.api_url));
            }
        }
        let mut payment = Self {
            id,
            status,
            amount: order.amount,
            fee: 0,
            currency: order.currency.to_owned(),
            refunded: 0,
            refunded_at: None,
            captured: 0,
            captured_at: None,
            voided_at: None,
            description: Some(order.description.to_owned()),
            amount_format: String::new(),
            fee_format: String::new(),
            refunded_format: String::new(),
            captured_format: String::new(),
            invoice_id: Some(order.invoice_id.to_owned()),
            ip: Some("203.0.113.24".to_owned()),
            callback_url: Some(order.page_url.to_owned()),
            created_at: now,
            updated_at: now,
            // Whether the invoice's metadata is copied here is not documented: nobody may rely on it.
            metadata: None,
            source,
        };
        payment.touch(now);
        payment
    }

    /// The money that was taken, refunds not subtracted.
    pub fn taken(&self) -> i64 {
        if self.captured > 0 { self.captured } else { self.amount }
    }

    /// Whether everything that was taken went back.
    pub fn is_fully_refunded(&self) -> bool {
        self.refunded > 0 && self.refunded >= self.taken()
    }

    pub(crate) fn refund(
        &mut self,
        amount: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        if !matches!(
            self.status,
            PaymentStatus::Paid | PaymentStatus::Captured | PaymentStatus::Refunded
        ) {
            return Err(self.refuse("refunded"));
        }
        let left = self.taken() - self.refunded;
        if left <= 0 {
            return Err(ApiError::refused("The payment is already refunded in full."));
        }
        let amount = within("amount", amount, left)?;
        self.refunded += amount;
        self.refunded_at = Some(now);
        self.status = PaymentStatus::Refunded;
        self.touch(now);
        Ok(())
    }

    pub(crate) fn capture(
        &mut self,
        amount: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<(), ApiError> {
        if self.status != PaymentStatus::Authorized {
            return Err(self.refuse("captured"));
        }
        self.captured = within("amount", amount, self.amount)?;
        self.captured_at = Some(now);
        self.status = PaymentStatus::Captured;
        self.touch(now);
        Ok(())
    }

    pub(crate) fn void(&mut self, now: DateTime<Utc>) -> Result<(), ApiError> {
        let is_settled = match self.status {
            PaymentStatus::Authorized => false,
            PaymentStatus::Paid | PaymentStatus::Captured => {
                now - self.captured_at.unwrap_or(self.created_at) > VOID_WINDOW
            }
            PaymentStatus::Initiated
            | PaymentStatus::Failed
            | PaymentStatus::Refunded
            | PaymentStatus::Voided
            | PaymentStatus::Verified
            | PaymentStatus::Expired
            | PaymentStatus::Other(_) => return Err(self.refuse("voided")),
        };
        if is_settled {
            return Err(ApiError::refused("The payment is settled already, refund it instead."));
        }
        self.voided_at = Some(now);
        self.status = PaymentStatus::Voided;
        self.touch(now);
        Ok(())
    }

    /// Moves to any state without asking whether it may, with the fields that belong to it.
    pub(crate) fn force(&mut self, status: PaymentStatus, now: DateTime<Utc>) {
        match status {
            PaymentStatus::Paid | PaymentStatus::Authorized | PaymentStatus::Verified => {
                self.source.settle(Verdict::Approved);
            }
            PaymentStatus::Captured => {
                self.source.settle(Verdict::Approved);
                self.captured = self.amount;
                self.captured_at = Some(now);
            }
            PaymentStatus::Failed => {
                let (code, message) = ("99", "UNSPECIFIED FAILURE");
                self.source.settle(Verdict::Declined { code, message });
            }
            PaymentStatus::Refunded => {
                self.refunded = self.taken();
                self.refunded_at = Some(now);
            }
            PaymentStatus::Voided => self.voided_at = Some(now),
            PaymentStatus::Initiated | PaymentStatus::Expired | PaymentStatus::Other(_) => (),
        }
        self.status = status;
        self.touch(now);
    }

    pub(crate) fn touch(&mut self, now: DateTime<Utc>) {
        self.updated_at = now;
        self.amount_format = money::format(self.amount, &self.currency);
        self.fee_format = money::format(self.fee, &self.currency);
        self.refunded_format = money::format(self.refunded, &self.currency);
        self.captured_format = money::format(self.captured, &self.currency);
    }

    /// The event that tells of the state it is in now.
    pub(crate) fn event(&self) -> Option<String> {
        match &self.status {
            PaymentStatus::Initiated => None,
            PaymentStatus::Other(word) => Some(format!("payment_{word}")),
            status @ (PaymentStatus::Paid
            | PaymentStatus::Authorized
            | PaymentStatus::Failed
            | PaymentStatus::Refunded
            | PaymentStatus::Captured
            | PaymentStatus::Voided
            | PaymentStatus::Verified
            | PaymentStatus::Expired) => Some(format!("payment_{}", status.as_str())),
        }
    }

    fn refuse(&self, what: &str) -> ApiError {
        let status = self.status.as_str();
        ApiError::refused(&format!("A payment that is {status} cannot be {what}."))
    }
}

/// An amount between 1 and `most`; none means `most`.
fn within(field: &'static str, amount: Option<i64>, most: i64) -> Result<i64, ApiError> {
    match amount {
        None => Ok(most),
        Some(amount) if (1..=most).contains(&amount) => Ok(amount),
        Some(amount) if amount < 1 => {
            Err(FieldErrors::one(field, "The value must be greater than or equal to 1."))
        }
        Some(_) => {
            Err(FieldErrors::one(field, format!("The value must be less than or equal to {most}.")))
        }
    }
}

impl Source {
    fn new(card: &Card) -> Self {
        let company = card.company();
        let (issuer_name, issuer_card_type) = match company {
            "mada" => ("AL RAJHI BANK", "debit"),
            _ => ("SAUDI NATIONAL BANK", "credit"),
        };
        let suffix: String = std::iter::repeat_with(fastrand::alphanumeric).take(21).collect();
        Self {
            r#type: "creditcard",
            company,
            name: card.name.clone().into_owned(),
            number: card.masked(),
            gateway_id: format!("moyasar_cc_{suffix}"),
            reference_number: None,
            token: None,
            message: None,
            transaction_url: None,
            response_code: None,
            authorization_code: None,
            issuer_name,
            issuer_country: "SA",
            issuer_card_type,
            issuer_card_category: "STANDARD",
        }
    }

    fn settle(&mut self, verdict: Verdict) {
        self.transaction_url = None;
        let (code, message) = match verdict {
            Verdict::Approved => (Some("00"), "APPROVED"),
            Verdict::Declined { code, message } => (Some(code), message),
            Verdict::Unauthenticated { message } => (None, message),
        };
        self.message = Some(message.to_owned());
        self.response_code = code.map(str::to_owned);
        self.reference_number = code.map(|_| digits(12));
        self.authorization_code = (verdict == Verdict::Approved).then(|| digits(6));
    }
}

pub(crate) fn digits(count: usize) -> String {
    std::iter::repeat_with(|| fastrand::digit(10)).take(count).collect()
}
