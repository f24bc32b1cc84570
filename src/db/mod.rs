//! What we remember: every SQL statement of the service, one file per table.
//!
//! A function that takes a transaction is only correct inside one; any other takes an executor.
//! Nothing here begins or commits a transaction.

use std::time::Duration;

use sqlx::error::DatabaseError;

pub mod alerts;
pub mod audit_log;
pub mod breaker_overrides;
pub mod checkouts;
pub mod dead_letters;
pub mod demo_requests;
pub mod health;
pub mod idempotency_keys;
pub mod invoices;
pub mod looks;
pub mod outbox;
pub mod payments;
pub mod pool;
pub mod quarantine;
pub mod redrives;
pub mod refused_events;
pub mod reviews;
pub mod role;
pub mod shelved_letters;
pub mod stories;
pub mod subscriptions;
pub mod troubles;
pub mod webhook_events;
pub mod webhook_leases;

/// How long a request, or a step of a loop, waits for Postgres before it takes the store to be away.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ends work that waits too long: a frozen Postgres, or a connection that is lost without a word, must
/// not hold its caller. What was under way may have been committed all the same.
pub async fn in_time<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Whether Postgres itself is the trouble (away, full, read-only, without our tables, closed to our
/// login, a lost election over locks), as opposed to the data: then the same statement may pass later.
pub fn is_outage(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    if let Some(error) = error.as_database_error() {
        // The classes of SQLSTATE in which the data is at fault: cardinality, values, constraints, the
        // condition of a view, limits of size, what a function raises. Whatever else Postgres says, it
        // would say of any data.
        let code = error.code().unwrap_or_default();
        return !matches!(code.get(..2), Some("21" | "22" | "23" | "44" | "54" | "P0"));
    }
    matches!(error, Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed)
}

/// Whether somebody else's transaction was in the way; Postgres itself is well.
pub fn is_contention(error: &sqlx::Error) -> bool {
    // Lost elections over locks, and our own limit on waiting for one.
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("40") || code == "55P03")
}

/// Whether Postgres is there but does not let us in.
pub fn is_denied(error: &sqlx::Error) -> bool {
    // Invalid authorization; no such database.
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("28") || code == "3D000")
}
