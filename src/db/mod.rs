//! What we remember: every SQL statement of the service, one file per table.
//!
//! A function that takes a transaction is only correct inside one; any other takes an executor.
//! Nothing here begins or commits a transaction.

pub mod audit_log;
pub mod checkouts;
pub mod demo_requests;
pub mod invoices;
pub mod outbox;
pub mod payments;
pub mod reviews;
pub mod subscriptions;
pub mod webhook_events;
