//! An operator's word on dead letters. Whatever is changed is in the audit first: a process that dies in
//! between leaves an order that was not carried out, never a change that nobody ordered, and the same
//! order again carries it out.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, RedisResult};
use serde_json::Value;
use sqlx::PgPool;

use crate::clock::Clock;
use crate::db;
use crate::db::audit_log::NewAudit;
use crate::flows::letters::redrives::Redrives;
use crate::flows::letters::replay_letter::ReplayLetters;
use crate::queue::{Entry, Letters, Queue};
use crate::tasks::Tasks;

pub(crate) mod change;
pub(crate) mod drain;
pub(super) mod once;
pub(crate) mod rehearse;
pub(crate) mod shelve;

/// What operating the queues needs.
#[derive(Clone)]
pub(crate) struct Operate {
    pub db: PgPool,
    pub letters: Letters,
    pub replay: Arc<ReplayLetters>,
    pub redrives: Redrives,
    pub tasks: Tasks,
    pub clock: Clock,
}

/// Who says so, and why.
#[derive(Clone, Debug)]
pub struct Order {
    /// The name of the key, or of the person at the shell.
    pub actor: String,
    /// The request in which it was said.
    pub request_id: String,
    /// Why.
    pub reason: Option<String>,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// Redis failed, or was not to be reached.
    #[error("Redis failed: {0}")]
    Queue(#[from] RedisError),
    /// Postgres failed, or was not to be reached.
    #[error("the database failed: {0}")]
    Storage(#[from] sqlx::Error),
    /// The queue has no such entry.
    #[error("no such entry")]
    NotFound,
    /// Somebody has the entry in hand.
    #[error("somebody has the entry in hand")]
    InFlight,
    /// What such an entry owes is not written in it.
    #[error("such an entry cannot be edited")]
    NotEditable,
    /// The key stands for another order.
    #[error("the idempotency key stands for another order")]
    KeyReused,
    /// Somebody carries out the order that the key stands for.
    #[error("an order with this idempotency key is being carried out")]
    InProgress {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The queue has no such redrive.
    #[error("no such redrive")]
    RedriveNotFound,
    /// The queue has a redrive that has not ended.
    #[error("the queue is being redriven")]
    IsRedriven,
    /// The redrive has ended.
    #[error("the redrive is over")]
    RedriveOver,
    /// It panicked, or could not be written down.
    #[error("it broke off: {0}")]
    Broken(String),
}

/// What an audit row says of an order.
struct Noted<'a> {
    action: &'static str,
    /// The queue, or the queue and the entry.
    subject: &'a str,
    before: Option<Value>,
    after: Option<Value>,
}

impl Operate {
    /// One entry.
    pub async fn get(&self, queue: Queue, id: &str) -> Result<Entry, OperateError> {
        let entry: RedisResult<_> = self.letters.get(queue, id, self.clock.now()).await;
        entry?.ok_or(OperateError::NotFound)
    }

    /// Writes an order down.
    async fn note(&self, order: &Order, noted: Noted<'_>) -> sqlx::Result<()> {
        db::in_time(db::audit_log::insert(&self.db, &self.audit(order, noted))).await
    }

    fn audit<'a>(&self, order: &'a Order, noted: Noted<'a>) -> NewAudit<'a> {
        let Noted { action, subject, before, after } = noted;
        NewAudit {
            actor: &order.actor,
            action,
            subject,
            reason: order.reason.as_deref(),
            before,
            after,
            request_id: Some(&order.request_id),
            happened_at: self.clock.now(),
        }
    }
}

/// How an audit row calls an entry.
pub(super) fn subject(queue: Queue, id: &str) -> String {
    format!("{}/{id}", queue.name())
}
