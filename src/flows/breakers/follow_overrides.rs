//! Follow overrides: learn what operators said to other instances, and do it here, too.

use std::sync::Arc;

use sqlx::PgPool;

use crate::clients::breakers::Breakers;
use crate::db;

/// Brings the breakers of this process to where operators want them. While Postgres is away the last
/// known words count, each until its time is over.
#[derive(Clone)]
pub struct FollowOverrides {
    pub db: PgPool,
    pub breakers: Arc<Breakers>,
}

impl FollowOverrides {
    /// Reads every word and follows those that are new.
    pub async fn run(&self) -> sqlx::Result<()> {
        let words = db::in_time(db::breaker_overrides::list(&self.db)).await?;
        self.breakers.follow(words.into_iter().map(|word| (word.name, word.orders)));
        Ok(())
    }
}
