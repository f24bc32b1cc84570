//! Change what an entry owes, look at it unredacted, and stop or start the automatic replay of a queue.

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::db;
use crate::faults;
use crate::flows::letters::operate::{Noted, Operate, OperateError, Order, subject};
use crate::queue::{Change, Content, Entry, Pause, Payload, Queue, State};

/// An entry for somebody who may see everything.
pub(crate) struct Revealed {
    pub entry: Entry,
    /// What the row that it refers to holds, in JSON; none where it refers to none that is there.
    pub row: Option<String>,
}

impl Operate {
    /// An entry as it is, with the row that it is about; that it was looked at is written down first.
    pub async fn reveal(
        &self,
        queue: Queue,
        id: &str,
        order: &Order,
    ) -> Result<Revealed, OperateError> {
        let entry = self.get(queue, id).await?;
        let subject = subject(queue, id);
        let noted = Noted { action: "dlq.revealed", subject: &subject, before: None, after: None };
        self.note(order, noted).await?;
        let row = match &entry.content {
            Content::Letter(letter) => db::in_time(self.row(&letter.payload)).await?,
            Content::Newer | Content::Unreadable => None,
        };
        Ok(Revealed { entry, row })
    }

    async fn row(&self, owed: &Payload) -> sqlx::Result<Option<String>> {
        match owed {
            Payload::StoredEvent { row_id } => {
                match db::webhook_leases::get(&self.db, *row_id).await {
                    Ok(event) => Ok(Some(String::from_utf8_lossy(&event.body).into_owned())),
                    Err(sqlx::Error::RowNotFound) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Payload::OutboxRow { row_id } => {
                let row = db::outbox::find(&self.db, *row_id).await?;
                Ok(row.map(|row| {
                    json!({
                        "name": row.name, "distinct_id": row.distinct_id,
                        "happened_at": row.happened_at, "properties": row.properties.0,
                    })
                    .to_string()
                }))
            }
            Payload::Event { .. } | Payload::Job { .. } => Ok(None),
        }
    }

    /// Replaces what an entry owes by another JSON object; the first one is kept with it. The audit
    /// holds digests: bodies name people.
    pub async fn edit(
        &self,
        queue: Queue,
        id: &str,
        payload: &str,
        order: &Order,
    ) -> Result<Entry, OperateError> {
        let entry = self.get(queue, id).await?;
        match queue {
            Queue::Outbound | Queue::CrmSync => (),
            Queue::Webhooks | Queue::Enrichment | Queue::Analytics => {
                return Err(OperateError::NotEditable);
            }
        }
        if entry.state == State::InFlight {
            return Err(OperateError::InFlight);
        }
        let Content::Letter(letter) = &entry.content else {
            return Err(OperateError::NotEditable);
        };
        let Payload::Job { body } = &letter.payload else {
            return Err(OperateError::NotEditable);
        };
        let subject = subject(queue, id);
        let (before, after) = (Some(digest(body)), Some(digest(payload)));
        let noted = Noted { action: "dlq.edited", subject: &subject, before, after };
        self.note(order, noted).await?;
        faults::step("edit_noted");
        let now = self.clock.now();
        match self.letters.edit(queue, id, payload, now).await? {
            Change::Done => self.get(queue, id).await,
            Change::Missing => Err(OperateError::NotFound),
            Change::InFlight => Err(OperateError::InFlight),
            Change::Differs => Err(OperateError::NotEditable),
        }
    }

    /// Stops the automatic replay of the queue; what an operator asks for is replayed all the same.
    pub async fn pause(&self, queue: Queue, order: &Order) -> Result<(), OperateError> {
        let was = self.letters.paused(queue).await?.is_some();
        self.note_pause(queue, order, "dlq.paused", (was, true)).await?;
        let reason = order.reason.clone().unwrap_or_default();
        let pause = Pause { by: order.actor.clone(), reason, at: self.clock.now() };
        faults::step("pause_noted");
        Ok(self.letters.pause(queue, &pause).await?)
    }

    /// Starts it again.
    pub async fn resume(&self, queue: Queue, order: &Order) -> Result<(), OperateError> {
        let was = self.letters.paused(queue).await?.is_some();
        self.note_pause(queue, order, "dlq.resumed", (was, false)).await?;
        faults::step("resume_noted");
        self.letters.resume(queue).await?;
        Ok(())
    }

    async fn note_pause(
        &self,
        queue: Queue,
        order: &Order,
        action: &'static str,
        (before, after): (bool, bool),
    ) -> Result<(), OperateError> {
        let paused = |is_paused| Some(json!({ "paused": is_paused }));
        let (before, after) = (paused(before), paused(after));
        let noted = Noted { action, subject: queue.name(), before, after };
        Ok(self.note(order, noted).await?)
    }
}

fn digest(body: &str) -> serde_json::Value {
    let digest = Sha256::digest(body);
    let halves = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let hex: String = halves.filter_map(|half| char::from_digit(half.into(), 16)).collect();
    json!({ "sha256": hex })
}
