//! Override a breaker: an operator holds it open or closed for a while, or lets it begin anew.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;

use crate::clients::breaker::Snapshot;
use crate::clients::breakers::Breakers;
use crate::clock::Clock;
use crate::db;
use crate::db::audit_log::NewAudit;
use crate::db::breaker_overrides::Override;
pub use crate::domain::breaker::Force;
use crate::domain::breaker::{Forced, Orders};
use crate::faults;

/// What an operator wants.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// Whatever it sees, until then.
    Force { to: Force, ttl: Duration },
    /// As if it had seen nothing and had been told nothing.
    Reset,
}

/// What an operator says, and who.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    pub wish: Wish,
    /// Why; a reset needs no reason.
    pub reason: Option<&'a str>,
    pub actor: &'a str,
    pub request_id: Option<&'a str>,
}

/// Why nothing was overridden.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    #[error("no such breaker")]
    NotFound,
    #[error("the database failed")]
    Storage(#[from] sqlx::Error),
}

/// Tells breakers what operators want.
#[derive(Clone)]
pub struct OverrideBreaker {
    pub db: PgPool,
    pub breakers: Arc<Breakers>,
    pub clock: Clock,
}

impl OverrideBreaker {
    /// Writes the word down together with its audit row. Every instance follows it within 5 s, and this
    /// process at once. Saying the same twice is the same, except that the time of an override counts
    /// from the second word. Of two operators at once one is the second, and both are in the audit.
    pub async fn run(&self, name: &str, word: Word<'_>) -> Result<Snapshot, OverrideError> {
        let breaker = self.breakers.get(name).ok_or(OverrideError::NotFound)?;
        let (before, after) = db::in_time(self.write(name, word)).await?;
        // The word before this one may be news here as well; and only who knows it knows a reset as one.
        breaker.follow(&before);
        breaker.follow(&after);
        Ok(breaker.snapshot())
    }

    async fn write(&self, name: &str, word: Word<'_>) -> sqlx::Result<(Orders, Orders)> {
        let Word { wish, reason, actor, request_id } = word;
        let now = self.clock.now();
        let mut tx = self.db.begin().await?;
        let before = db::breaker_overrides::lock(&mut tx, name, actor, now).await?;
        let (action, after) = match wish {
            Wish::Force { to, ttl } => (action(to), before.force(Forced { to, until: now + ttl })),
            Wish::Reset => ("breaker.reset", before.reset()),
        };
        let last = Override {
            name: name.to_owned(),
            orders: after,
            reason: reason.map(str::to_owned),
            actor: actor.to_owned(),
            changed_at: now,
        };
        db::breaker_overrides::set(&mut tx, &last).await?;
        let audit = NewAudit {
            actor,
            action,
            subject: name,
            reason,
            before: Some(summary(&before)),
            after: Some(summary(&after)),
            request_id,
            happened_at: now,
        };
        db::audit_log::insert(&mut *tx, &audit).await?;
        faults::step("override_unsaved");
        tx.commit().await?;
        faults::step("override_saved");
        Ok((before, after))
    }
}

fn action(to: Force) -> &'static str {
    match to {
        Force::Open => "breaker.opened",
        Force::Closed => "breaker.closed",
    }
}

fn summary(orders: &Orders) -> Value {
    let forced = orders.forced;
    json!({
        "forced": forced.map(|forced| forced.to.word()),
        "forced_until": forced.map(|forced| forced.until),
        "resets": orders.resets,
    })
}
