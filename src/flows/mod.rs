//! What we do: one file per business verb; owns transactions, knows no HTTP. Verbs about one thing share
//! a folder.

pub mod breakers;
pub mod checkout;
pub mod health;
pub mod letters;
pub mod settling;
pub mod webhooks;

pub mod announce_reviews;
pub mod call_for_help;
pub mod deliver_events;
pub mod idempotency;
pub mod request_demo;
pub mod resolve_review;
pub mod tell_story;
pub mod track_visit;

mod backoff;
mod questions;
