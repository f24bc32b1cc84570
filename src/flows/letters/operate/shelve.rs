//! Delete dead letters for thirty days, and take that back. The row in Postgres is marked first, in the
//! transaction of the audit: a letter of a marked row is never written anew.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgPool, PgTransaction};
use uuid::Uuid;

use crate::db;
use crate::db::audit_log::NewAudit;
use crate::faults;
use crate::flows::letters::operate::drain::Stopped;
use crate::flows::letters::operate::{Operate, OperateError, Order, subject};
use crate::queue::{Change, Content, Entry, Filter, KEPT, Payload, Queue, State};

/// Entries in one step of a purge.
const PAGE: usize = 200;

/// What was deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Purged {
    /// How many.
    pub number: usize,
    pub undo_until: DateTime<Utc>,
    pub stopped: Option<Stopped>,
}

/// What was taken back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Restored {
    /// How many.
    pub number: u64,
    pub stopped: Option<Stopped>,
}

/// The rows that letters are about.
#[derive(Default)]
struct Rows {
    events: Vec<Uuid>,
    outbox: Vec<Uuid>,
}

impl Rows {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut rows = Self::default();
        for entry in entries {
            let Content::Letter(letter) = &entry.content else { continue };
            match &letter.payload {
                Payload::StoredEvent { row_id } => rows.events.push(*row_id),
                Payload::OutboxRow { row_id } => rows.outbox.push(*row_id),
                Payload::Event { .. } | Payload::Job { .. } => (),
            }
        }
        rows
    }

    async fn shelve(&self, tx: &mut PgTransaction<'_>, now: DateTime<Utc>) -> sqlx::Result<()> {
        db::shelved_letters::shelve_events(&mut **tx, &self.events, now).await?;
        db::shelved_letters::shelve_outbox(&mut **tx, &self.outbox, now).await
    }

    async fn unshelve(&self, db: &PgPool) -> sqlx::Result<()> {
        db::in_time(db::shelved_letters::unshelve_events(db, &self.events)).await?;
        db::in_time(db::shelved_letters::unshelve_outbox(db, &self.outbox)).await
    }
}

impl Operate {
    /// Deletes one entry that nobody has in hand; tells until when it can be had back.
    pub async fn delete(
        &self,
        queue: Queue,
        id: &str,
        order: &Order,
    ) -> Result<DateTime<Utc>, OperateError> {
        let entry = self.get(queue, id).await?;
        if entry.state == State::InFlight {
            return Err(OperateError::InFlight);
        }
        let now = self.clock.now();
        let entries = [entry];
        let subject = subject(queue, id);
        let [entry] = &entries;
        let audit = NewAudit {
            actor: &order.actor,
            action: "dlq.deleted",
            subject: &subject,
            reason: order.reason.as_deref(),
            before: Some(json!({ "state": entry.state.name() })),
            after: None,
            request_id: Some(&order.request_id),
            happened_at: now,
        };
        match self.shelve(queue, &entries, Some(&audit), order).await?.as_slice() {
            [Change::Done] => Ok(now + KEPT),
            [Change::InFlight] => Err(OperateError::InFlight),
            _ => Err(OperateError::NotFound),
        }
    }

    /// Deletes every entry that was there at this moment, of one state or of all; what somebody has in
    /// hand stays.
    pub async fn purge(
        &self,
        queue: Queue,
        state: Option<State>,
        order: Order,
    ) -> Result<Purged, OperateError> {
        let this = self.clone();
        let purged = self.tasks.finish(async move { this.purge_here(queue, state, &order).await });
        purged.await.map_err(OperateError::Broken)?
    }

    async fn purge_here(
        &self,
        queue: Queue,
        state: Option<State>,
        order: &Order,
    ) -> Result<Purged, OperateError> {
        let (began, now) = (self.clock.monotonic(), self.clock.now());
        let depth = self.letters.count(queue, now).await?.depth();
        let mark = self.letters.high_water(queue).await?;
        let states = match state {
            Some(state) => vec![state],
            None => vec![State::Ready, State::Scheduled, State::Dead],
        };
        let names: Vec<_> = states.iter().map(|state| state.name()).collect();
        let audit = NewAudit {
            actor: &order.actor,
            action: "dlq.purged",
            subject: queue.name(),
            reason: order.reason.as_deref(),
            before: Some(json!({ "depth": depth })),
            after: Some(json!({ "purged_states": names })),
            request_id: Some(&order.request_id),
            happened_at: now,
        };
        db::in_time(db::audit_log::insert(&self.db, &audit)).await?;
        let filter = Filter { states, mark: Some(mark), ..Filter::default() };
        let (mut number, mut cursor) = (0, None);
        loop {
            let page = self.letters.page(queue, &filter, cursor.as_ref(), PAGE, now).await?;
            let changes = self.shelve(queue, &page.items, None, order).await?;
            number += changes.iter().filter(|change| **change == Change::Done).count();
            let Some(next) = page.next else {
                return Ok(Purged { number, undo_until: now + KEPT, stopped: None });
            };
            if let Some(stopped) = self.stopped(began) {
                return Ok(Purged { number, undo_until: now + KEPT, stopped: Some(stopped) });
            }
            cursor = Some(next);
        }
    }

    /// Marks the rows of the entries, then deletes these; what is not deleted is marked no longer.
    async fn shelve(
        &self,
        queue: Queue,
        entries: &[Entry],
        audit: Option<&NewAudit<'_>>,
        order: &Order,
    ) -> Result<Vec<Change>, OperateError> {
        let now = self.clock.now();
        let transaction = async {
            let mut tx = self.db.begin().await?;
            if let Some(audit) = audit {
                db::audit_log::insert(&mut *tx, audit).await?;
            }
            Rows::of(entries.iter()).shelve(&mut tx, now).await?;
            tx.commit().await
        };
        db::in_time(transaction).await?;
        faults::step("letters_shelved");
        let ids: Vec<_> = entries.iter().map(|entry| entry.id.clone()).collect();
        let changes = self.letters.delete(queue, &ids, &order.actor, now).await?;
        faults::step("letters_deleted");
        let left = entries.iter().zip(&changes).filter(|(_, change)| **change != Change::Done);
        Rows::of(left.map(|(entry, _)| entry)).unshelve(&self.db).await?;
        Ok(changes)
    }

    /// Takes back what was deleted in the last thirty days: one entry, or all of the queue.
    pub async fn restore(
        &self,
        queue: Queue,
        id: Option<String>,
        order: Order,
    ) -> Result<Restored, OperateError> {
        let this = self.clone();
        let restored = self.tasks.finish(async move {
            let binned = this.letters.stats(queue, this.clock.now()).await?.binned;
            let subject = id.as_deref().map(|id| subject(queue, id));
            let audit = NewAudit {
                actor: &order.actor,
                action: "dlq.restored",
                subject: subject.as_deref().unwrap_or(queue.name()),
                reason: order.reason.as_deref(),
                before: Some(json!({ "deleted": binned })),
                after: None,
                request_id: Some(&order.request_id),
                happened_at: this.clock.now(),
            };
            db::in_time(db::audit_log::insert(&this.db, &audit)).await?;
            match id {
                Some(id) => this.restore_one(queue, id).await,
                None => this.restore_all(queue).await,
            }
        });
        restored.await.map_err(OperateError::Broken)?
    }

    async fn restore_one(&self, queue: Queue, id: String) -> Result<Restored, OperateError> {
        let ids = [id];
        let changes = self.letters.restore(queue, &ids, self.clock.now()).await?;
        faults::step("letter_restored");
        // Also when it was there before: the one who restored it may have died in between.
        let [id] = &ids;
        let entry = self.get(queue, id).await?;
        Rows::of([&entry].into_iter()).unshelve(&self.db).await?;
        let number = u64::from(changes.first() == Some(&Change::Done));
        Ok(Restored { number, stopped: None })
    }

    async fn restore_all(&self, queue: Queue) -> Result<Restored, OperateError> {
        // Whoever writes a letter anew meanwhile finds it there, or it is found there. What left the bin
        // long ago stays away: nobody who takes back what was deleted lately means that.
        let since = self.clock.now() - KEPT;
        match queue {
            Queue::Webhooks => {
                db::in_time(db::shelved_letters::unshelve_all_events(&self.db, since)).await?;
            }
            Queue::Analytics => {
                db::in_time(db::shelved_letters::unshelve_all_outbox(&self.db, since)).await?;
            }
            Queue::Outbound | Queue::Enrichment | Queue::CrmSync => (),
        }
        faults::step("letters_unshelved");
        let (began, mut number, mut skip) = (self.clock.monotonic(), 0, 0);
        loop {
            let page = self.letters.restore_page(queue, skip, self.clock.now()).await?;
            number += page.restored;
            skip += page.skipped;
            if page.is_over {
                return Ok(Restored { number, stopped: None });
            }
            if let Some(stopped) = self.stopped(began) {
                return Ok(Restored { number, stopped: Some(stopped) });
            }
        }
    }
}
