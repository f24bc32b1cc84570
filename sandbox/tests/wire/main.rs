//! The sandbox, asked over real HTTP as the service asks it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect has to fail on the spot"
)]

mod binary;
mod cards;
mod control;
mod faults;
mod harness;
mod invoices;
mod page;
mod payments;
mod posthog;
mod sentry;
mod webhooks;
