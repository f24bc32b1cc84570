//! What an operator says of a redrive: begin, rest, go on, end. Each is one transaction with its audit
//! row.

use redis::RedisResult;
use serde_json::json;
use uuid::Uuid;

use super::{Plan, Redrives};
use crate::db;
use crate::db::audit_log::NewAudit;
use crate::db::redrives::Redrive;
use crate::domain::redrive::{RedriveStatus, RedriveWord};
use crate::faults;
use crate::flows::idempotency::{self, Answered, IdempotencyKey};
use crate::flows::letters::operate::once::given;
use crate::flows::letters::operate::{OperateError, Order, subject};
use crate::queue::{Filter, Queue, State};

/// How many are listed.
const LISTED: i64 = 50;

impl Redrives {
    /// Orders one: of what matches now, as long as the queue has no other that has not ended.
    pub async fn start(
        &self,
        plan: &Plan,
        order: &Order,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answered<Redrive>, OperateError> {
        let (now, queue) = (self.clock.now(), plan.queue);
        let letters = &self.replay.letters;
        let mark = letters.high_water(queue).await?;
        // What somebody has in hand is replayed anyway.
        let states = match plan.filter.states.as_slice() {
            [] => vec![State::Ready, State::Scheduled, State::Dead],
            some => some.to_vec(),
        };
        let filter = Filter { states, mark: None, ..plan.filter.clone() };
        let marked = Filter { mark: Some(mark), ..filter.clone() };
        let matching = letters.count_matching(queue, &marked, now).await?;
        let filter = serde_json::to_value(&filter).map_err(|error| unwritable(&error))?;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let redrive = Redrive {
            id: Uuid::now_v7(),
            queue: queue.name().to_owned(),
            filter,
            mark: number(mark),
            rate_per_s: plan.rate_per_s.map(|rate| i32::try_from(rate).unwrap_or(i32::MAX)),
            stop_at_failure_percent: i32::try_from(plan.stop_at_failure_percent).unwrap_or(100),
            one_first: plan.one_first,
            status: RedriveStatus::Running,
            stopped_because: None,
            matched: number(matching.at_least),
            is_matched_exact: matching.is_exact,
            succeeded: 0,
            failed: 0,
            held: 0,
            excused_tried: 0,
            excused_undone: 0,
            cursor: None,
            next_at: now,
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            request_id: order.request_id.clone(),
            created_at: now,
            updated_at: now,
            ended_at: None,
        };
        let subject = name(queue, redrive.id);
        let audit = NewAudit {
            actor: &order.actor,
            action: "dlq.redriven",
            subject: &subject,
            reason: order.reason.as_deref(),
            before: Some(json!({ "matched": redrive.matched })),
            after: Some(json!({
                "filter": redrive.filter,
                "rate_per_s": redrive.rate_per_s,
                "stop_at_failure_percent": redrive.stop_at_failure_percent,
                "one_first": redrive.one_first,
            })),
            request_id: Some(&order.request_id),
            happened_at: now,
        };
        let transaction = async {
            let mut tx = self.db.begin().await?;
            if let Some(key) = key {
                let claim = idempotency::claim_while_running(&mut tx, key, redrive.id, now).await?;
                match given(claim) {
                    Ok(None) => (),
                    Ok(Some(answer)) => return Ok(Ok(Answered { answer, is_replayed: true })),
                    Err(error) => return Ok(Err(error)),
                }
            }
            if !db::redrives::insert(&mut *tx, &redrive).await? {
                return Ok(Err(OperateError::IsRedriven));
            }
            db::audit_log::insert(&mut *tx, &audit).await?;
            if key.is_some() {
                idempotency::keep(&mut tx, redrive.id, &redrive, now).await?;
            }
            faults::step("redrive_unordered");
            tx.commit().await?;
            faults::step("redrive_ordered");
            Ok(Ok(Answered::new(redrive)))
        };
        db::in_time(transaction).await?
    }

    /// One of a queue.
    pub async fn find(&self, queue: Queue, id: Uuid) -> Result<Redrive, OperateError> {
        self.ask_whether_redis_is_there(queue).await?;
        let found = db::in_time(db::redrives::find(&self.db, queue.name(), id)).await?;
        found.ok_or(OperateError::RedriveNotFound)
    }

    /// The last ones of a queue, newest first.
    pub async fn list(&self, queue: Queue) -> Result<Vec<Redrive>, OperateError> {
        self.ask_whether_redis_is_there(queue).await?;
        Ok(db::in_time(db::redrives::list(&self.db, queue.name(), LISTED)).await?)
    }

    /// Lets one rest, go on, or end; the page in hand is finished in any case. To say the same once more
    /// changes nothing.
    pub(crate) async fn say(
        &self,
        queue: Queue,
        id: Uuid,
        word: RedriveWord,
        order: &Order,
    ) -> Result<Redrive, OperateError> {
        self.ask_whether_redis_is_there(queue).await?;
        let now = self.clock.now();
        let subject = name(queue, id);
        let transaction = async {
            let mut tx = self.db.begin().await?;
            let Some(was) = db::redrives::lock(&mut tx, queue.name(), id).await? else {
                return Ok(Err(OperateError::RedriveNotFound));
            };
            let Some(status) = word.applied_to(was) else {
                return Ok(Err(OperateError::RedriveOver));
            };
            let audit = NewAudit {
                actor: &order.actor,
                action: match word {
                    RedriveWord::Pause => "dlq.redrive_paused",
                    RedriveWord::Resume => "dlq.redrive_resumed",
                    RedriveWord::Cancel => "dlq.redrive_cancelled",
                },
                subject: &subject,
                reason: order.reason.as_deref(),
                before: Some(json!({ "status": was.word() })),
                after: Some(json!({ "status": status.word() })),
                request_id: Some(&order.request_id),
                happened_at: now,
            };
            db::audit_log::insert(&mut *tx, &audit).await?;
            if status != was {
                db::redrives::set_status(&mut tx, id, status, now).await?;
            }
            faults::step("redrive_untold");
            tx.commit().await?;
            faults::step("redrive_told");
            Ok(Ok(()))
        };
        match db::in_time(transaction).await {
            Err(error) if db::redrives::is_second(&error) => Err(OperateError::IsRedriven),
            said => said?,
        }?;
        self.find(queue, id).await
    }

    /// No route of the queues answers while Redis does not: what it said would go by old figures.
    async fn ask_whether_redis_is_there(&self, queue: Queue) -> RedisResult<()> {
        self.replay.letters.high_water(queue).await.map(drop)
    }
}

/// How an audit row calls it.
fn name(queue: Queue, id: Uuid) -> String {
    subject(queue, &format!("redrive/{id}"))
}

fn unwritable(error: &serde_json::Error) -> OperateError {
    OperateError::Broken(error.to_string())
}
