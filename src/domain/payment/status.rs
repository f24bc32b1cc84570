//! The words that the provider has for a payment's state, and how far each has come.

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

    /// How far a payment has come; it never goes back. No two words are equally far, so that all of
    /// them put together have one furthest in whatever order they were seen.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Other(_) => 0,
            Self::Initiated => 1,
            Self::Verified => 2,
            Self::Authorized => 3,
            Self::Abandoned => 4,
            Self::Expired => 5,
            Self::Canceled => 6,
            Self::Failed => 7,
            Self::Paid => 8,
            Self::Captured => 9,
            Self::Refunded => 10,
            Self::Voided => 11,
        }
    }
}

impl PaymentStatus {
    /// Whether money moved: from here on every change is somebody's money.
    pub(super) fn is_money(&self) -> bool {
        self.rank() >= Self::Paid.rank()
    }

    /// Whether the attempt to pay ended without any money; the checkout can still be paid.
    pub(super) fn is_lost_attempt(&self) -> bool {
        matches!(self, Self::Failed | Self::Abandoned | Self::Expired | Self::Canceled)
    }

    /// Whether it is a mere hold on the card, or a check of it.
    pub(super) fn is_hold(&self) -> bool {
        matches!(self, Self::Authorized | Self::Verified)
    }
}
