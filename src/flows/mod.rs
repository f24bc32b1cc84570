//! What we do: one file per business verb; owns transactions, knows no HTTP.

pub mod cancel_invoices;
pub mod check_health;
pub mod check_sentry;
pub mod commit_events;
pub mod company;
pub mod deliver_events;
pub mod expire_subscriptions;
pub mod guard_email;
pub mod hand_over;
pub mod heal_checkouts;
pub mod health_board;
pub mod idempotency;
pub mod inbox;
pub mod open_checkout;
pub mod prompt_look;
pub mod quarantine;
pub mod replay_letter;
pub mod request_demo;
pub mod resolve_review;
pub mod settle_event;
pub mod show_breakers;
pub mod show_checkout;
pub mod start_checkout;
pub mod track_visit;

mod adopt_invoice;
mod backoff;
mod incoming;
mod questions;
mod settle_payment;
mod store_events;
