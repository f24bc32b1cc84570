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
pub mod pool;
pub mod reviews;
pub mod role;
pub mod subscriptions;
pub mod webhook_events;

/// Whether Postgres itself is the trouble (unreachable, out of connections, shutting down), as
/// opposed to what it was asked.
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Classes of SQLSTATE: connection, resources, operator intervention, system; lock timeouts.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08")
                || code.starts_with("53")
                || code.starts_with("57")
                || code.starts_with("58")
                || code == "55P03"
        }),
        _ => false,
    }
}
