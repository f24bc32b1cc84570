//! The provider's webhook events: which of them can move our money.

/// What an event type means to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relevance {
    /// It may move money of ours: the payment is fetched and settled.
    Processed,
    /// It moves none: stored, and nothing else.
    Ignored,
}

/// What the type of an event means; a missing or unknown one is ignored.
pub fn relevance(event_type: Option<&str>) -> Relevance {
    match event_type {
        // The provider's guide and its API disagree on how a failure is spelled: both are taken.
        Some(
            "payment_paid" | "payment_failed" | "payment_faild" | "payment_authorized"
            | "payment_captured" | "payment_refunded" | "payment_voided" | "payment_abandoned"
            | "payment_expired" | "payment_canceled",
        ) => Relevance::Processed,
        Some(_) | None => Relevance::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_that_can_move_money_are_processed_and_no_others() {
        for processed in [
            "payment_paid",
            "payment_failed",
            "payment_faild",
            "payment_authorized",
            "payment_captured",
            "payment_refunded",
            "payment_voided",
            "payment_abandoned",
            "payment_expired",
            "payment_canceled",
        ] {
            assert_eq!(relevance(Some(processed)), Relevance::Processed, "{processed}");
        }
        for ignored in
            ["payment_verified", "webhook_verification", "balance_transferred", "", "PAYMENT_PAID"]
        {
            assert_eq!(relevance(Some(ignored)), Relevance::Ignored, "{ignored}");
        }
        assert_eq!(relevance(None), Relevance::Ignored);
    }
}
