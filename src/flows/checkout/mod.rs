//! A checkout from its start to its end: sold, shown, looked after, cleaned up; what a payment does is in
//! `settling`.

pub mod cancel_invoices;
pub mod guard_email;
pub mod heal_checkouts;
pub mod open_checkout;
pub mod prompt_look;
pub mod show_checkout;
pub mod start_checkout;
