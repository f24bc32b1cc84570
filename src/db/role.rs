//! Who we are in Postgres.

use sqlx::PgExecutor;

/// Whether our role may do everything: then a hole in one query opens the whole server.
pub async fn is_superuser(db: impl PgExecutor<'_>) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select rolsuper as "is_superuser!" from pg_roles where rolname = current_user"#
    )
    .fetch_one(db)
    .await
}
