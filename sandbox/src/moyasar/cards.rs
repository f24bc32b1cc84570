//! The documented test cards and what each of them does. Any card that is not listed fails.

use std::borrow::Cow;

/// A card at the payment page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Digits only.
    pub number: Cow<'static, str>,
    /// The name of its holder, two words at least.
    pub name: Cow<'static, str>,
    /// How far the payment goes by itself.
    pub flow: CardFlow,
}

/// How far a payment goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CardFlow {
    /// It is charged or declined at once.
    #[default]
    Charge,
    /// It is only authorised, to be captured or voided later.
    Authorize,
    /// It stays `initiated`, as if the payer were still at the bank's page.
    Begin,
}

impl Card {
    /// A card with this number and a holder's name that is fine.
    pub const fn new(number: &'static str) -> Self {
        Self {
            number: Cow::Borrowed(number),
            name: Cow::Borrowed("Sandbox Payer"),
            flow: CardFlow::Charge,
        }
    }

    /// The same card, paying another way.
    #[must_use]
    pub fn with_flow(mut self, flow: CardFlow) -> Self {
        self.flow = flow;
        self
    }

    /// What is wrong with it, before any bank is asked.
    pub(crate) fn mistakes(&self) -> Vec<CardMistake> {
        let mut mistakes = Vec::new();
        if self.name.split_whitespace().count() < 2 {
            mistakes.push(CardMistake::Name);
        }
        let is_number = self.number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || !(13..=19).contains(&self.number.len()) {
            mistakes.push(CardMistake::Number);
        }
        mistakes
    }

    /// Its scheme, as `source.company` writes it.
    pub(crate) fn company(&self) -> &'static str {
        let number = self.number.as_ref();
        match number {
            _ if number.starts_with("4201") => "mada",
            _ if number.starts_with("34") || number.starts_with("37") => "amex",
            _ if number.starts_with("62") => "unionpay",
            _ if number.starts_with('4') => "visa",
            _ => "master",
        }
    }

    /// `4201-32XX-XXXX-1010`: the first six and the last four digits.
    pub(crate) fn masked(&self) -> String {
        let length = self.number.len();
        let mut masked = String::with_capacity(length + 4);
        for (place, digit) in self.number.chars().enumerate() {
            if place > 0 && place % 4 == 0 {
                masked.push('-');
            }
            masked.push(if place < 6 || place + 4 >= length { digit } else { 'X' });
        }
        masked
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let number = self.number.as_ref();
        if APPROVED.contains(&number) {
            return Verdict::Approved;
        }
        if let Some((_, message)) = UNAUTHENTICATED.iter().find(|(card, _)| *card == number) {
            return Verdict::Unauthenticated { message };
        }
        let declined = DECLINED.iter().find(|(_, _, cards)| cards.contains(&number));
        let (code, message) =
            declined.map_or(("99", "UNSPECIFIED FAILURE"), |(code, message, _)| (*code, *message));
        Verdict::Declined { code, message }
    }
}

/// A field of the card that cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CardMistake {
    Name,
    Number,
    Expiry,
    Cvc,
}

impl CardMistake {
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Number => "number",
            Self::Expiry => "expiry",
            Self::Cvc => "cvc",
        }
    }
}

/// What the bank says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Approved,
    Declined {
        code: &'static str,
        message: &'static str,
    },
    /// The cardholder could not be authenticated, so no bank was asked and there is no response code.
    Unauthenticated {
        message: &'static str,
    },
}

/// Approved, mada.
pub const MADA_APPROVED: Card = Card::new("4201320111111010");
/// Approved, Visa.
pub const VISA_APPROVED: Card = Card::new("4111111111111111");
/// Approved, Visa without a challenge.
pub const VISA_FRICTIONLESS: Card = Card::new("4111114005765430");
/// Approved, Mastercard.
pub const MASTERCARD_APPROVED: Card = Card::new("5421080101000000");
/// Approved, American Express.
pub const AMEX_APPROVED: Card = Card::new("340000000900000");
/// Approved, `UnionPay`.
pub const UNIONPAY_APPROVED: Card = Card::new("6200000000000005");
/// Declined for no stated reason, mada.
pub const MADA_UNSPECIFIED: Card = Card::new("4201320000013020");
/// Declined for want of money, mada.
pub const MADA_INSUFFICIENT_FUNDS: Card = Card::new("4201320000311101");
/// Declined as lost, mada.
pub const MADA_LOST: Card = Card::new("4201320131000508");
/// Declined, mada.
pub const MADA_DECLINED: Card = Card::new("4201321234411220");
/// Declined as expired, mada.
pub const MADA_EXPIRED: Card = Card::new("4201322267774310");
/// Declined over its limit, mada.
pub const MADA_OVER_LIMIT: Card = Card::new("4201326324640570");
/// Declined as stolen, mada.
pub const MADA_STOLEN: Card = Card::new("4201321144311528");
/// The holder's bank cannot authenticate anybody right now, Visa.
pub const VISA_3DS_UNAVAILABLE: Card = Card::new("4111115620358287");

const APPROVED: [&str; 6] = [
    "4201320111111010",
    "4111111111111111",
    "4111114005765430",
    "5421080101000000",
    "340000000900000",
    "6200000000000005",
];

/// Response code, message, and the cards of mada, Visa, Mastercard, Amex and `UnionPay` that get it.
const DECLINED: [(&str, &str, [&str; 5]); 7] = [
    (
        "99",
        "UNSPECIFIED FAILURE",
        [
            "4201320000013020",
            "4123120000000000",
            "5105105105105100",
            "371111111111114",
            "6200000000000013",
        ],
    ),
    (
        "51",
        "INSUFFICIENT FUNDS",
        [
            "4201320000311101",
            "4123120001090000",
            "5457210001000092",
            "340033000000000",
            "6200000000000021",
        ],
    ),
    (
        "41",
        "LOST",
        [
            "4201320131000508",
            "4123450131000508",
            "5204010101000000",
            "340012340501000",
            "6200000000000039",
        ],
    ),
    (
        "05",
        "DECLINED",
        [
            "4201321234411220",
            "4123120001090109",
            "5204730000002514",
            "340033000000133",
            "6200000000000047",
        ],
    ),
    (
        "54",
        "EXPIRED",
        [
            "4201322267774310",
            "4123128518640738",
            "5105107550274126",
            "340000018441278",
            "6200000000000054",
        ],
    ),
    (
        "61",
        "EXCEEDS WITHDRAWAL LIMIT",
        [
            "4201326324640570",
            "4123123033308648",
            "5105106475101067",
            "340000753060788",
            "6200000000000062",
        ],
    ),
    (
        "43",
        "STOLEN",
        [
            "4201321144311528",
            "4123125276780003",
            "5105107304607225",
            "340000418501838",
            "6200000000000070",
        ],
    ),
];

/// Visa cards whose holder cannot be authenticated, and why.
const UNAUTHENTICATED: [(&str, &str); 6] = [
    ("4111118250252531", "Authentication attempted but not available"),
    ("4111113343111067", "Card enrollment check failed"),
    ("4111116611600661", "Card not enrolled"),
    ("4111112205628150", "Authentication failed"),
    ("4111115784228433", "Authentication rejected by the issuer"),
    ("4111115620358287", "Authentication unavailable"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_shows_its_first_six_and_last_four_digits() {
        assert_eq!(MADA_APPROVED.masked(), "4201-32XX-XXXX-1010");
        assert_eq!(AMEX_APPROVED.masked(), "3400-00XX-XXX0-000");
    }

    #[test]
    fn a_card_that_is_not_listed_fails() {
        let verdict = Card::new("4201320111111011").verdict();
        assert_eq!(verdict, Verdict::Declined { code: "99", message: "UNSPECIFIED FAILURE" });
    }
}
