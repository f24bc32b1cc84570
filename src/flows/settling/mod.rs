//! What a payment does: stored events settled, payments recorded, subscriptions begun and ended; how
//! events come in is in `webhooks`.

pub mod company;
pub mod expire_subscriptions;
pub mod settle_event;

mod adopt_invoice;
pub(super) mod attempt;
pub(super) mod settle_payment;
