//! The `breaker_overrides` table: what operators last said about each circuit breaker.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};

use crate::domain::breaker::{Force, Forced, Orders};

/// What was last said about one breaker, and by whom.
#[derive(Clone, Debug)]
pub struct Override {
    pub name: String,
    pub orders: Orders,
    pub reason: Option<String>,
    pub actor: String,
    pub changed_at: DateTime<Utc>,
}

struct Row {
    name: String,
    version: i64,
    resets: i64,
    forced: Option<Force>,
    forced_until: Option<DateTime<Utc>>,
    reason: Option<String>,
    actor: String,
    changed_at: DateTime<Utc>,
}

impl From<Row> for Override {
    fn from(row: Row) -> Self {
        let forced = row.forced.zip(row.forced_until).map(|(to, until)| Forced { to, until });
        let orders = Orders { version: row.version, resets: row.resets, forced };
        let Row { name, reason, actor, changed_at, .. } = row;
        Self { name, orders, reason, actor, changed_at }
    }
}

/// What was said about every breaker of which anything ever was, by name.
pub async fn list(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<Override>> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select name, version, resets, forced as "forced: Force", forced_until, reason, actor, changed_at
        from breaker_overrides
        order by name
        "#,
    );
    Ok(rows.fetch_all(db).await?.into_iter().map(Override::from).collect())
}

/// Locks what was said about one breaker until the transaction ends, so that of two operators the
/// second knows what the first has said.
pub async fn lock(
    tx: &mut PgTransaction<'_>,
    name: &str,
    actor: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<Orders> {
    // There is nothing to be locked before somebody has said something.
    sqlx::query!(
        "insert into breaker_overrides (name, version, resets, actor, changed_at)
         values ($1, 0, 0, $2, $3)
         on conflict (name) do nothing",
        name,
        actor,
        now,
    )
    .execute(&mut **tx)
    .await?;
    let row = sqlx::query_as!(
        Row,
        r#"
        select name, version, resets, forced as "forced: Force", forced_until, reason, actor, changed_at
        from breaker_overrides
        where name = $1
        for update
        "#,
        name,
    );
    Ok(Override::from(row.fetch_one(&mut **tx).await?).orders)
}

/// Writes the last word about a locked breaker.
pub async fn set(tx: &mut PgTransaction<'_>, word: &Override) -> sqlx::Result<()> {
    let Override { name, orders, reason, actor, changed_at } = word;
    sqlx::query!(
        "update breaker_overrides set version = $2, resets = $3, forced = $4, forced_until = $5,
             reason = $6, actor = $7, changed_at = $8
         where name = $1",
        name,
        orders.version,
        orders.resets,
        orders.forced.map(|forced| forced.to) as Option<Force>,
        orders.forced.map(|forced| forced.until),
        reason.as_deref(),
        actor,
        changed_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
