//! The connections to Postgres: how they are opened, tested and thrown away. No SQL.

use std::time::Duration;

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, PgPool};

/// How long a request waits for a connection; a webhook must be answered within two of these.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);

/// Begins a transaction that waits for nobody's lock for long, because somebody waits for it.
pub const BEGIN_IMPATIENT: &str = "begin; set local lock_timeout = '250ms'";

/// How long a connection may take to show that it lives.
const PING_TIMEOUT: Duration = Duration::from_millis(500);

/// A connection that rested longer is asked whether it lives before it is lent: after a restart of
/// Postgres all of them are dead, and no request should be the one to find out.
const TRUSTED_REST: Duration = Duration::from_secs(1);

/// A pool that connects when it is first used, so that the service starts without Postgres.
pub fn open(url: &SecretString, max_connections: u32) -> anyhow::Result<PgPool> {
    let session = connect_options(url)?.options([
        ("statement_timeout", "10s"),
        // What we answer 2xx for is durable, and what we read is what is committed, whatever the role's
        // or the database's own defaults say.
        ("synchronous_commit", "on"),
        ("default_transaction_isolation", "read committed"),
        ("lock_timeout", "5s"),
        // We may be gone without the server having heard of it: what we had locked is free again
        // before its lease ends, and our place among its connections a minute later. Between two
        // statements of a transaction we do nothing that takes time.
        ("idle_in_transaction_session_timeout", "10s"),
        ("tcp_user_timeout", "10s"),
        ("tcp_keepalives_idle", "30s"),
        ("tcp_keepalives_interval", "10s"),
        ("tcp_keepalives_count", "3"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // It has no deadline of its own; the ones below do.
        .test_before_acquire(false)
        .before_acquire(|connection, rest| {
            Box::pin(async move {
                if rest.idle_for > TRUSTED_REST {
                    ping(connection).await?;
                }
                Ok(true)
            })
        })
        // Without a deadline here a frozen Postgres fills the pool with connections that are
        // neither lent nor free, for good.
        .after_release(|connection, _| {
            Box::pin(async move {
                ping(connection).await?;
                Ok(true)
            })
        });
    Ok(pool.connect_lazy_with(session))
}

/// Where Postgres is and who we are there.
pub fn connect_options(url: &SecretString) -> anyhow::Result<PgConnectOptions> {
    let options: PgConnectOptions =
        url.expose_secret().parse().context("DATABASE_URL is no Postgres URL")?;
    Ok(options.application_name("dealix-api"))
}

/// An error makes the pool drop the connection without saying goodbye, which could hang as well.
async fn ping(connection: &mut PgConnection) -> sqlx::Result<()> {
    match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pool_opens_without_postgres_and_fails_within_its_deadline() {
        // A listener that accepts and never answers: a frozen Postgres.
        let frozen = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://dealix@{}/dealix", frozen.local_addr().unwrap());
        let pool = open(&url.into(), 2).unwrap();
        let began = tokio::time::Instant::now();
        assert!(matches!(pool.acquire().await, Err(sqlx::Error::PoolTimedOut)));
        assert!(began.elapsed() < Duration::from_millis(1_500));
    }
}
