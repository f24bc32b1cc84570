//! The service as its clients see it: HTTP in, JSON out, a fresh database for every test, and every
//! answer held against the OpenAPI document.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a step that fails should fail the test"
)]

mod adoption;
mod alerts;
mod announcing;
mod audit;
mod breakers;
mod checkout;
mod checkout_doubt;
mod dead_letters;
mod desk;
mod dlq_drain;
mod dlq_entries;
mod dlq_overview;
mod email_guard;
mod everywhere;
mod fixtures;
mod frozen;
mod harness;
mod healing;
mod health;
mod idempotency;
mod inbox;
mod limits;
mod lost_letters;
mod metrics;
mod odd_provider;
mod openapi;
mod outages;
mod overrides;
mod pages;
mod payments;
mod predecessors;
mod pricing;
mod proxy;
mod public;
mod query_plans;
mod read_only;
#[expect(dead_code, reason = "shared with the storms, which restart it")]
mod redis_server;
mod redrive;
mod redrive_stops;
mod redriver;
mod refunds;
mod replay;
mod replay_keys;
mod reviews;
mod scrubbing;
mod sentry;
mod settling;
mod shop;
mod status;
mod stories;
mod strange_answers;
mod surplus;
mod webhooks;
mod worker;
