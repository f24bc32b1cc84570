//! A checkout: one customer's attempt to buy one plan.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The public, unguessable name of a checkout.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct CheckoutId(pub Uuid);

impl CheckoutId {
    /// A name that nobody can guess: 122 random bits, no time in it.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl std::fmt::Display for CheckoutId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Where a checkout stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum CheckoutStatus {
    /// The intent is written; whether an invoice exists is not known yet.
    Opening,
    /// The invoice can be paid.
    Pending,
    /// Moyasar refused to make an invoice, or was not asked.
    Refused,
    /// Paid and fulfilled.
    Paid,
    /// Paid, fulfilled, and all of it given back.
    Refunded,
    /// The invoice can no longer be paid.
    Failed,
    /// Nobody paid in time.
    Expired,
    /// It was called off.
    Canceled,
    /// A person must look; nothing was fulfilled.
    Review,
}

impl CheckoutStatus {
    /// The word on the wire: what happens before there is an invoice is nobody else's business.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opening | Self::Pending => "pending",
            Self::Refused | Self::Failed => "failed",
            Self::Paid => "paid",
            Self::Refunded => "refunded",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
            Self::Review => "review",
        }
    }
}

/// The customer's language.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub enum Locale {
    /// Arabic, right to left.
    #[default]
    Ar,
    /// English.
    En,
}

impl Locale {
    /// The language tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Ar => "ar",
            Self::En => "en",
        }
    }
}

/// Who asked for a checkout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Channel {
    /// A visitor of the price page.
    Pricing,
    /// A service of ours.
    Service,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_knows_seven_words() {
        use CheckoutStatus::{
            Canceled, Expired, Failed, Opening, Paid, Pending, Refunded, Refused, Review,
        };
        let words = [Opening, Pending, Refused, Paid, Refunded, Failed, Expired, Canceled, Review]
            .map(CheckoutStatus::word);
        assert_eq!(
            words,
            [
                "pending", "pending", "failed", "paid", "refunded", "failed", "expired",
                "canceled", "review"
            ]
        );
    }

    #[test]
    fn two_names_are_never_alike_and_carry_no_time() {
        let (one, other) = (CheckoutId::random(), CheckoutId::random());
        assert_ne!(one, other);
        assert_eq!(one.0.get_version_num(), 4);
        assert_eq!(one.to_string(), one.0.to_string());
    }

    #[test]
    fn languages_have_their_tags() {
        assert_eq!((Locale::Ar.tag(), Locale::En.tag()), ("ar", "en"));
    }
}
