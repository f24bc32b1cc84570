//! Write events into Postgres, each once: the only thing that decides whether an event is new.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, PgTransaction};
use uuid::Uuid;

use crate::db;
use crate::db::reviews::NewReview;
use crate::flows::questions::Questions;
use crate::flows::webhooks::incoming::{Flaw, Incoming, SOURCE};
use crate::wake::Wake;

/// What the same id with another body is: somebody's mistake or somebody's attack.
const CHANGED: Flaw =
    Flaw { kind: "event_changed", difference: "the event came again with another body" };

/// What became of an event, once the transaction is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    /// It was nowhere before.
    New,
    /// It is the event with this id.
    Known(Uuid),
}

/// Outcomes, and what a person is to be told after the commit.
pub(crate) struct StoredEvents {
    /// One for each event, in their order.
    pub outcomes: Vec<Stored>,
    pub questions: Questions,
}

/// Stores those that are new, with the questions that they raise. Nothing is true before the commit.
pub(crate) async fn store_events(
    tx: &mut PgTransaction<'_>,
    events: &[&Incoming],
) -> sqlx::Result<StoredEvents> {
    let mut firsts: HashMap<&str, &Incoming> = HashMap::with_capacity(events.len());
    for event in events {
        firsts.entry(&event.key).or_insert(event);
    }
    let rows: Vec<_> = firsts.values().map(|event| event.row()).collect();
    let new = db::webhook_events::insert_all(tx, &rows).await?;
    let is_new = |event: &Incoming| new.contains(&event.id);
    let mut holders: HashMap<String, (Uuid, Vec<u8>)> = HashMap::new();
    for first in firsts.values().filter(|first| is_new(first)) {
        holders.insert(first.key.clone(), (first.id, first.envelope.sha256.to_vec()));
    }
    let known: Vec<_> =
        firsts.values().filter(|first| !is_new(first)).map(|first| first.key.as_str()).collect();
    if !known.is_empty() {
        for stored in db::webhook_events::list(&mut **tx, SOURCE, &known).await? {
            holders.insert(stored.dedupe_key, (stored.id, stored.body_sha256));
        }
    }
    let (mut outcomes, mut questions) = (Vec::with_capacity(events.len()), Questions::default());
    for event in events {
        // Gone between the two statements: nobody may be told that it is stored.
        let (id, sha256) = holders.get(&event.key).ok_or(sqlx::Error::RowNotFound)?;
        let is_first = *id == event.id;
        let flaw = if is_first {
            event.flaw
        } else {
            (!event.is_copy && *sha256 != event.envelope.sha256).then_some(CHANGED)
        };
        if let Some(flaw) = flaw {
            let question = question(*id, event.payment_id(), flaw, event.received_at);
            questions.ask(&mut **tx, &question).await?;
        }
        outcomes.push(if is_first { Stored::New } else { Stored::Known(*id) });
    }
    Ok(StoredEvents { outcomes, questions })
}

/// Asks about an event whose other body only a letter has seen.
pub(crate) async fn ask_about_change(
    db: &PgPool,
    wake: &Wake,
    id: Uuid,
    payment_id: Option<&str>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    Questions::ask_alone(db, wake, &question(id, payment_id, CHANGED, now)).await
}

/// What a person is asked about an event.
fn question(
    id: Uuid,
    payment_id: Option<&str>,
    flaw: Flaw,
    opened_at: DateTime<Utc>,
) -> NewReview<'_> {
    let Flaw { kind, difference } = flaw;
    NewReview { kind, payment_id, checkout_id: None, event_id: Some(id), difference, opened_at }
}
