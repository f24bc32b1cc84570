//! Entries as they are shown. What an entry owes names people: it is redacted, unless somebody who may
//! see it asks for it.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Unix;
use crate::domain::disclosure::veiled;
use crate::domain::redaction::redact;
use crate::queue::{Content, Entry, Letter, Payload, Queue};

/// Whether what an entry owes is redacted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Veil {
    Drawn,
    Lifted,
}

/// An entry in a list.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetterSummary)]
pub(super) struct EntrySummary {
    #[schema(examples("moyasar:0b5e7a5c"))]
    id: String,
    /// What could not be done.
    #[schema(examples("moyasar"))]
    source: String,
    #[schema(value_type = String, examples("ready", "scheduled", "in_flight", "dead"))]
    state: &'static str,
    /// Why it is here, or failed last.
    #[schema(examples("the provider does not know this payment"))]
    error: String,
    #[schema(examples("unknown_payment"))]
    error_class: String,
    /// How many attempts of this queue have failed.
    #[schema(examples(1))]
    attempt: u32,
    /// After so many it is dead.
    #[schema(examples(5))]
    max_retries: u32,
    /// When it came, in seconds since 1970.
    #[schema(value_type = f64, examples(1_767_323_045))]
    created_at: Unix,
    /// When it failed last, in seconds since 1970.
    #[schema(value_type = f64, examples(1_767_323_105))]
    last_attempt_at: Unix,
    /// When it is tried again, in seconds since 1970, if it is scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false, examples(1_767_323_405))]
    next_attempt_at: Option<Unix>,
    /// The request that it came with.
    #[schema(examples("019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"))]
    request_id: String,
}

impl EntrySummary {
    pub fn of(entry: &Entry) -> Self {
        let letter = readable(entry);
        Self {
            id: entry.id.clone(),
            source: redact(&entry.source).into_owned(),
            state: entry.state.name(),
            error: error(entry),
            error_class: entry.error_class.clone(),
            attempt: letter.map_or(0, |letter| letter.attempt),
            max_retries: letter.map_or(0, |letter| letter.max_retries),
            created_at: Unix(entry.created_at),
            last_attempt_at: last_attempt_at(entry),
            next_attempt_at: entry.due_at.map(Unix),
            request_id: entry.request_id.clone(),
        }
    }
}

/// An entry at a glance.
#[derive(Serialize, ToSchema)]
#[schema(as = PeekedDeadLetter)]
pub(super) struct PeekedEntry {
    #[schema(examples("moyasar:0b5e7a5c"))]
    id: String,
    #[schema(examples("moyasar"))]
    source: String,
    #[schema(examples("the provider does not know this payment"))]
    error: String,
    /// How many attempts of this queue have failed.
    #[schema(examples(1))]
    attempts: u32,
    /// In seconds since 1970.
    #[schema(value_type = f64, examples(1_767_323_045))]
    first_seen_at: Unix,
    /// In seconds since 1970.
    #[schema(value_type = f64, examples(1_767_323_105))]
    last_attempt_at: Unix,
    /// The names of the fields of what it owes.
    #[schema(examples(json!(["data", "id", "type"])))]
    payload_keys: Vec<String>,
}

impl PeekedEntry {
    pub fn of(entry: &Entry) -> Self {
        let letter = readable(entry);
        Self {
            id: entry.id.clone(),
            source: redact(&entry.source).into_owned(),
            error: error(entry),
            attempts: letter.map_or(0, |letter| letter.attempt),
            first_seen_at: Unix(entry.created_at),
            last_attempt_at: last_attempt_at(entry),
            payload_keys: letter.map(|letter| letter.payload.keys()).unwrap_or_default(),
        }
    }
}

/// An entry with what it owes.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub(super) struct EntryDetail {
    #[schema(value_type = String, examples("webhooks"))]
    queue: &'static str,
    #[serde(flatten)]
    summary: EntrySummary,
    /// The group of entries that failed alike.
    #[schema(examples("5f2b8c1d9e0a4c37"))]
    group: String,
    /// How many workers ended with it in their hands since one last gave it back.
    #[schema(examples(0))]
    deaths: u32,
    /// Until when somebody has it in hand, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false, examples(1_767_323_135))]
    lease_until: Option<Unix>,
    /// `event`, `stored_event`, `outbox_row` or `job`; `newer` and `unreadable` if this release cannot
    /// read it.
    #[schema(value_type = String, examples("stored_event"))]
    kind: &'static str,
    /// What it owes: the event itself, a reference to its row, or a job. Null if it cannot be read.
    #[schema(value_type = Value, examples(json!({ "id": "0b5e7a5c", "type": "payment_paid" })))]
    payload: Box<RawValue>,
    /// What the row that it refers to holds; only where it is revealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false, examples(json!({ "type": "payment_paid" })))]
    row: Option<Box<RawValue>>,
    /// What it owed before an operator changed that first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false, examples(json!({ "to": "[redacted]" })))]
    original: Option<Box<RawValue>>,
    /// Whether personal data in it is blanked.
    is_redacted: bool,
    /// Whether an operator has changed what it owes.
    is_edited: bool,
}

impl EntryDetail {
    pub fn of(queue: Queue, entry: &Entry, veil: Veil) -> Self {
        let kind = match &entry.content {
            Content::Letter(letter) => kind(&letter.payload),
            Content::Newer => "newer",
            Content::Unreadable => "unreadable",
        };
        let letter = readable(entry);
        let original = letter.and_then(|letter| letter.original.as_ref());
        Self {
            queue: queue.name(),
            summary: EntrySummary::of(entry),
            group: entry.group.clone(),
            deaths: entry.deaths,
            lease_until: entry.lease_until.map(Unix),
            kind,
            payload: payload(letter.map(|letter| &letter.payload), veil),
            row: None,
            original: original.map(|original| payload(Some(original), veil)),
            is_redacted: veil == Veil::Drawn,
            is_edited: original.is_some(),
        }
    }

    /// With what the row that it refers to holds.
    pub fn with(self, row: Option<String>) -> Self {
        Self { row: row.and_then(|row| RawValue::from_string(row).ok()), ..self }
    }
}

const fn kind(payload: &Payload) -> &'static str {
    match payload {
        Payload::Event { .. } => "event",
        Payload::StoredEvent { .. } => "stored_event",
        Payload::OutboxRow { .. } => "outbox_row",
        Payload::Job { .. } => "job",
    }
}

/// What is owed; revealed it is what was written, byte for byte.
fn payload(owed: Option<&Payload>, veil: Veil) -> Box<RawValue> {
    let text = owed.map(Payload::json);
    let shown = match (text, veil) {
        (None, _) => None,
        (Some(text), Veil::Lifted) => RawValue::from_string(text.into_owned()).ok(),
        (Some(text), Veil::Drawn) => {
            let document = serde_json::from_str::<Value>(&text).ok();
            document.and_then(|document| serde_json::value::to_raw_value(&veiled(&document)).ok())
        }
    };
    shown.unwrap_or_else(|| RawValue::NULL.to_owned())
}

fn readable(entry: &Entry) -> Option<&Letter> {
    match &entry.content {
        Content::Letter(letter) => Some(letter),
        Content::Newer | Content::Unreadable => None,
    }
}

fn error(entry: &Entry) -> String {
    match &entry.content {
        Content::Letter(letter) => redact(&letter.error).into_owned(),
        Content::Newer => "only a newer version of this service can read it".to_owned(),
        Content::Unreadable => "it cannot be read".to_owned(),
    }
}

/// Whatever came here had failed once.
fn last_attempt_at(entry: &Entry) -> Unix {
    let last = readable(entry).and_then(|letter| letter.last_attempt_at);
    Unix(last.unwrap_or(entry.created_at))
}
