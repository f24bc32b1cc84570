//! Notice that Redis may have lost letters, so that those that have a row in Postgres are written anew at
//! once.

use sqlx::PgPool;

use crate::clock::Clock;
use crate::db;
use crate::faults;
use crate::flows::letters::hand_over::{HandOverError, LOOK_AGAIN};
use crate::queue::{Letters, PushError, Queue};

/// How many rows are marked in one statement.
const PAGE: i64 = 1_000;

/// What noticing needs.
#[derive(Clone)]
pub(crate) struct NoticeLoss {
    pub db: PgPool,
    pub letters: Letters,
    pub clock: Clock,
}

impl NoticeLoss {
    /// Makes every row due for a look at its letter, once per start of Redis. Who dies in the middle of
    /// that has not vouched, and it is done again.
    pub async fn run(&self) -> Result<(), HandOverError> {
        for queue in [Queue::Webhooks, Queue::Analytics] {
            let start = self.letters.unvouched(queue).await.map_err(PushError::from)?;
            let Some(start) = start else { continue };
            while self.forget_page(queue).await? > 0 {
                faults::step("loss_noticed");
            }
            self.letters.vouch(queue, &start).await.map_err(PushError::from)?;
            faults::step("loss_vouched");
        }
        Ok(())
    }

    async fn forget_page(&self, queue: Queue) -> sqlx::Result<u64> {
        let before = self.clock.now() - LOOK_AGAIN;
        match queue {
            Queue::Webhooks => {
                db::in_time(db::dead_letters::forget_seen(&self.db, before, PAGE)).await
            }
            Queue::Analytics => {
                db::in_time(db::refused_events::forget_seen(&self.db, before, PAGE)).await
            }
            // Nobody but Redis knows of them.
            Queue::Outbound | Queue::Enrichment | Queue::CrmSync => Ok(0),
        }
    }
}
