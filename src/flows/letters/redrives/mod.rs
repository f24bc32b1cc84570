//! Redrives: everything of a queue that matched when an operator said so, replayed once each, oldest
//! first. What an operator says of one is in `orders`, and it is carried out, a page at a time, in `run`.

use std::sync::Arc;

use chrono::TimeDelta;
use sqlx::PgPool;

use crate::clock::Clock;
use crate::flows::letters::debts::Debts;
use crate::flows::letters::replay_letter::{Holds, ReplayLetters};
use crate::queue::{Filter, Letters, Queue};

mod orders;
mod run;

pub use crate::db::redrives::Redrive;

/// What redriving needs.
#[derive(Clone)]
pub struct Redrives {
    pub(crate) db: PgPool,
    pub(crate) replay: Arc<ReplayLetters>,
    pub(crate) clock: Clock,
}

/// What is to be redriven, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose letters.
    pub queue: Queue,
    /// Which of them.
    pub filter: Filter,
    /// How many a second at most.
    pub rate_per_s: Option<u32>,
    /// It stops when more than this share of at least twenty is still owed.
    pub stop_at_failure_percent: u32,
    /// Whether the first one has to succeed before others are tried.
    pub one_first: bool,
}

impl Redrives {
    /// Redrives by these handlers, for who has no other use for them. `lease` is for how long a letter
    /// belongs to whoever took it.
    pub fn new(db: PgPool, letters: Letters, debts: Debts, lease: TimeDelta, clock: Clock) -> Self {
        let holds = Holds::default();
        let (batch, its_clock) = (1, clock.clone());
        let replay = ReplayLetters { letters, debts, lease, batch, clock: its_clock, holds };
        Self { db, replay: Arc::new(replay), clock }
    }
}
