//! Rehearse a drain: what would become of each entry, and what analytics would be told, without a lease,
//! an attempt, a metric, or anything that stays written.

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use crate::flows::letters::handler::{Done, ForeseenEvent, Undone};
use crate::flows::letters::operate::drain::{DEADLINE, PATIENCE, Stopped};
use crate::flows::letters::operate::{Operate, OperateError};
use crate::flows::letters::replay_letter::ABREAST;
use crate::queue::{Content, Cursor, Entry, Page, Queue};
use crate::tasks::guarded;

/// What would become of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Prospect {
    WouldSucceed,
    WouldFail,
    /// Somebody else has done it.
    Superseded,
    /// Something that it needs is away.
    Held,
}

impl Prospect {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WouldSucceed => "would_succeed",
            Self::WouldFail => "would_fail",
            Self::Superseded => "superseded",
            Self::Held => "held",
        }
    }
}

/// One entry of a rehearsal.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Rehearsed {
    pub id: String,
    pub source: String,
    pub prospect: Prospect,
    pub error: Option<String>,
    pub events: Vec<ForeseenEvent>,
    /// What would become of it in the hands of those who have it afterwards, where that is in doubt.
    pub afterwards: Option<(Prospect, String)>,
}

/// A rehearsal.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Rehearsal {
    pub items: Vec<Rehearsed>,
    /// How many entries the queue has.
    pub depth: u64,
    /// Where a further rehearsal goes on; not said by one that stopped.
    pub next: Option<Cursor>,
    pub stopped: Option<Stopped>,
}

impl Rehearsal {
    /// How many would end so.
    pub fn count(&self, prospect: Prospect) -> usize {
        self.items.iter().filter(|item| item.prospect == prospect).count()
    }
}

impl Operate {
    /// Rehearses a drain of so many entries behind `after`, each by itself: what one would change for the
    /// next is not seen.
    pub async fn rehearse(
        &self,
        queue: Queue,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Rehearsal, OperateError> {
        let started = Instant::now();
        let depth = self.letters.count(queue, self.clock.now()).await?.depth();
        let Page { items: entries, next } = self.list_waiting(queue, limit, after).await?;
        let number = entries.len();
        let rehearsed = stream::iter(entries).map(async |entry| {
            if started.elapsed() >= DEADLINE {
                return None;
            }
            let rehearsal = guarded(Box::pin(self.rehearse_one(queue, &entry)));
            let rehearsed = tokio::time::timeout_at(started + PATIENCE, rehearsal).await;
            Some(match rehearsed {
                Ok(Ok(rehearsed)) => rehearsed,
                Ok(Err(panic)) => entry_with(&entry, Prospect::WouldFail, Some(panic)),
                Err(_) => entry_with(&entry, Prospect::Held, Some("timeout".to_owned())),
            })
        });
        let items: Vec<_> = rehearsed.buffered(ABREAST).filter_map(async |it| it).collect().await;
        let stopped = (items.len() < number).then_some(Stopped::Deadline);
        let next = next.filter(|_| stopped.is_none());
        Ok(Rehearsal { items, depth, next, stopped })
    }

    async fn rehearse_one(&self, queue: Queue, entry: &Entry) -> Rehearsed {
        let letter = match &entry.content {
            Content::Letter(letter) => letter,
            Content::Newer => {
                return entry_with(entry, Prospect::Held, Some("newer_version".to_owned()));
            }
            Content::Unreadable => {
                return entry_with(entry, Prospect::WouldFail, Some("unreadable".to_owned()));
            }
        };
        match self.replay.debts.rehearse(queue, letter).await {
            Ok(foreseen) => {
                let prospect = match foreseen.done {
                    Done::Here => Prospect::WouldSucceed,
                    Done::Elsewhere => Prospect::Superseded,
                };
                let afterwards = foreseen.afterwards.map(prospect_of);
                let known = entry_with(entry, prospect, None);
                Rehearsed { events: foreseen.events, afterwards, ..known }
            }
            Err(undone) => {
                let (prospect, error) = prospect_of(undone);
                entry_with(entry, prospect, Some(error))
            }
        }
    }
}

fn prospect_of(undone: Undone) -> (Prospect, String) {
    match undone {
        Undone::Away { class, .. } => (Prospect::Held, class.to_owned()),
        Undone::Failed { error, .. } => (Prospect::WouldFail, error),
    }
}

fn entry_with(entry: &Entry, prospect: Prospect, error: Option<String>) -> Rehearsed {
    let (id, source) = (entry.id.clone(), entry.source.clone());
    Rehearsed { id, source, prospect, error, events: Vec::new(), afterwards: None }
}
