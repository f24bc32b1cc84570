//! Looks after everything we depend on, one check at a time, and notes it on the board.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use sqlx::PgPool;
use tokio::time::timeout;

use crate::clients::health::Service;
use crate::clients::moyasar::Moyasar;
use crate::clients::posthog::Posthog;
use crate::clock::Clock;
use crate::db;
use crate::domain::health::{Check, ErrorClass, Facts, Finding, Status};
use crate::flows::health::health_board::HealthBoard;
use crate::migrations;
use crate::queue::{Counts, Durability, Letters, Queue, Redis, is_denied};

/// How long the database is asked beside the pool, after the pool had no connection.
const BESIDE_THE_POOL: Duration = Duration::from_millis(300);

/// Everything that is looked after.
#[derive(Clone)]
pub struct HealthChecks {
    /// The database.
    pub db: PgPool,
    /// The store of dead letters.
    pub redis: Redis,
    /// The dead letters.
    pub letters: Letters,
    /// The payment provider; without a client it is not configured.
    pub moyasar: Option<(Moyasar, Arc<Service>)>,
    /// Product analytics; without a client it is switched off or not configured.
    pub posthog: Option<(Posthog, Arc<Service>)>,
    /// Where findings are left.
    pub board: HealthBoard,
    /// What time it is.
    pub clock: Clock,
    /// How long one check may take.
    pub patience: Duration,
    /// What never changes while the process runs.
    pub settled: Settled,
}

/// What follows from the settings alone.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The language-model providers. The gateway to them is not built yet.
    pub llm_providers: Finding,
    /// The payment provider, should it have no client.
    pub moyasar: Finding,
    /// Product analytics, should it have no client.
    pub posthog: Finding,
}

impl HealthChecks {
    /// Runs one check and notes what it found; never takes longer than the patience for it.
    pub async fn run(&self, check: Check) {
        let finding = timeout(self.patience, self.look(check)).await.unwrap_or_else(|_| {
            let text = format!("no answer within {} ms", self.patience.as_millis());
            Finding::failed(ErrorClass::Timeout, text)
        });
        self.board.record(check, finding);
    }

    async fn look(&self, check: Check) -> Finding {
        match check {
            Check::Postgres => self.postgres().await,
            Check::Redis => self.redis().await,
            Check::LlmProviders => self.settled.llm_providers.clone(),
            Check::Moyasar => match &self.moyasar {
                Some((moyasar, service)) => service.look(moyasar.probe()).await,
                None => self.settled.moyasar.clone(),
            },
            Check::Posthog => match &self.posthog {
                Some((posthog, service)) => service.look(posthog.probe()).await,
                None => self.settled.posthog.clone(),
            },
            Check::Migrations => self.migrations().await,
            Check::Dlq => self.letters().await,
            // They come with the parts that they look after.
            Check::Reconciliation | Check::Backup => Finding::disabled(),
        }
    }

    async fn migrations(&self) -> Finding {
        let began = self.clock.monotonic();
        let missing = match migrations::missing(&self.db).await {
            Ok(missing) => missing,
            Err(error) => return failed_query(&error),
        };
        let took = self.clock.monotonic().saturating_duration_since(began);
        let status = if missing.is_empty() { Status::Ok } else { Status::Fail };
        Finding {
            reason: (!missing.is_empty()).then_some("migrations_missing"),
            facts: Facts::MissingMigrations(missing),
            ..Finding { took: Some(took), ..Finding::bare(status) }
        }
    }

    async fn postgres(&self) -> Finding {
        let began = self.clock.monotonic();
        match db::health::ping(&self.db).await {
            Ok(()) => Finding::ok(self.clock.monotonic().saturating_duration_since(began)),
            Err(sqlx::Error::PoolTimedOut) => self.postgres_beside_the_pool().await,
            Err(error) => failed_query(&error),
        }
    }

    /// Why the pool has no connection to give.
    async fn postgres_beside_the_pool(&self) -> Finding {
        match timeout(BESIDE_THE_POOL, db::health::ping_beside(&self.db)).await {
            Ok(Err(error)) => failed_query(&error),
            Ok(Ok(())) => {
                let text = "it answers, but every connection of the pool is busy";
                Finding::failed(ErrorClass::Timeout, text.to_owned())
            }
            Err(_) => Finding::failed(ErrorClass::Timeout, "no answer to a connection".to_owned()),
        }
    }

    async fn letters(&self) -> Finding {
        let (began, now) = (self.clock.monotonic(), self.clock.now());
        let (mut depth, mut dead, mut oldest_at) = (0, 0, None);
        for queue in Queue::ALL {
            let counts = match self.letters.count(queue, now).await {
                Ok(counts) => counts,
                Err(error) => return failed_command(&error),
            };
            show(queue, &counts);
            depth += counts.depth();
            dead += counts.dead;
            oldest_at = [oldest_at, counts.oldest_at].into_iter().flatten().min();
        }
        let age = oldest_at.map(|oldest_at| (now - oldest_at).to_std().unwrap_or_default());
        let took = self.clock.monotonic().saturating_duration_since(began);
        Finding::of_letters(depth, dead, age, took)
    }

    async fn redis(&self) -> Finding {
        let began = self.clock.monotonic();
        if let Err(error) = self.redis.ping().await {
            return failed_command(&error);
        }
        let took = self.clock.monotonic().saturating_duration_since(began);
        let flaws = match self.redis.durability().await {
            Ok(Durability::Always | Durability::Confirmable) => return Finding::ok(took),
            Ok(Durability::Not(flaws)) => flaws,
            Err(error) => return failed_command(&error),
        };
        let words: Vec<_> = flaws.iter().map(|flaw| flaw.name()).collect();
        Finding {
            status: Status::Degraded,
            reason: words.first().copied(),
            text: Some(format!("what it acknowledges may be lost: {}", words.join(", "))),
            ..Finding::ok(took)
        }
    }
}

/// What can be counted on a gauge: it holds numbers of this size exactly.
fn show(queue: Queue, counts: &Counts) {
    let states = [
        ("ready", counts.ready),
        ("scheduled", counts.scheduled),
        ("in_flight", counts.in_flight),
        ("dead", counts.dead),
    ];
    for (state, count) in states {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        gauge!("dealix_dlq_letters", "queue" => queue.name(), "state" => state).set(count);
    }
}

fn failed_query(error: &sqlx::Error) -> Finding {
    Finding::failed(class_of_query(error), error.to_string())
}

/// Why Postgres did not answer as it should, in a word.
pub(super) fn class_of_query(error: &sqlx::Error) -> ErrorClass {
    if is_timeout(error) {
        ErrorClass::Timeout
    } else if db::is_denied(error) {
        ErrorClass::Auth
    } else if db::is_outage(error) {
        ErrorClass::Unreachable
    } else {
        ErrorClass::Refused
    }
}

fn is_timeout(error: &sqlx::Error) -> bool {
    let is_slow = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
    matches!(error, sqlx::Error::PoolTimedOut)
        || matches!(error, sqlx::Error::Io(error) if is_slow(error))
}

fn failed_command(error: &redis::RedisError) -> Finding {
    Finding::failed(class_of_command(error), error.to_string())
}

/// Why Redis did not answer as it should, in a word.
pub(super) fn class_of_command(error: &redis::RedisError) -> ErrorClass {
    if is_denied(error) {
        ErrorClass::Auth
    } else if error.is_timeout() {
        ErrorClass::Timeout
    } else if error.is_io_error() {
        ErrorClass::Unreachable
    } else {
        ErrorClass::Refused
    }
}
