//! What we remember: every SQL statement of the service, one file per table.
//!
//! A function that takes a transaction is only correct inside one; any other takes an executor.
//! Nothing here begins or commits a transaction.
