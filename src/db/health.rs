//! Whether Postgres answers.

use sqlx::{Connection, PgConnection, PgExecutor, PgPool};

/// Asks for the least there is.
pub async fn ping(db: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query("select 1").execute(db).await.map(drop)
}

/// The same beside the pool, on a connection made for this one question: tells a database that is
/// gone from a pool that is merely exhausted.
pub async fn ping_beside(pool: &PgPool) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    ping(&mut connection).await
}
