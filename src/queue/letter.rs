//! A dead letter and how it is written down. Where letters are kept is the business of `letters`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono::serde::{ts_milliseconds, ts_milliseconds_option};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

/// The way letters are written now. A letter of a newer way is left to whoever understands it.
pub(super) const VERSION: u32 = 1;

/// The names of what is written of a letter.
const KNOWN: [&str; 16] = [
    "v",
    "id",
    "source",
    "error",
    "error_class",
    "attempt",
    "max_retries",
    "created_at",
    "last_attempt_at",
    "next_attempt_at",
    "request_id",
    "trace_id",
    "payload",
    "body_sha256",
    "is_changed",
    "original",
];

/// Something that we owe, and how often we failed to do it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// The same thing has the same id, so that it is owed once.
    pub id: String,
    /// Who could not do it.
    pub source: String,
    /// Why it is here, or failed last.
    pub error: String,
    /// What kind of error that is.
    pub error_class: String,
    /// How many attempts of this queue have failed.
    pub attempt: u32,
    /// After so many it is dead.
    pub max_retries: u32,
    /// When it was made.
    #[serde(with = "ts_milliseconds")]
    pub created_at: DateTime<Utc>,
    /// When it was tried last.
    #[serde(with = "ts_milliseconds_option", default, skip_serializing_if = "Option::is_none")]
    pub last_attempt_at: Option<DateTime<Utc>>,
    /// When it is to be tried; its queue knows better.
    #[serde(with = "ts_milliseconds")]
    pub next_attempt_at: DateTime<Utc>,
    /// The request that brought it about.
    pub request_id: String,
    /// The trace of that request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// What is owed.
    pub payload: Payload,
    /// What its event's body was when it came first, to know another one by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<String>,
    /// Whether the event came again with another body.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_changed: bool,
    /// What was owed before somebody edited it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Payload>,
    /// What a later release wrote beside it.
    #[serde(skip)]
    pub extra: Extra,
}

/// Fields that this release does not know; they are written as they were read.
#[derive(Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Extra(BTreeMap<String, Box<RawValue>>);

impl Extra {
    /// One field, whose name must be none of a letter's own.
    pub fn of(name: &str, value: Box<RawValue>) -> Self {
        Self([(name.to_owned(), value)].into())
    }
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        let texts = |it: &Self| -> Vec<_> {
            it.0.iter().map(|(name, value)| (name.clone(), value.get().to_owned())).collect()
        };
        texts(self) == texts(other)
    }
}

/// What is owed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Payload {
    /// A webhook event that Postgres could not take; everything else about it is read from its body.
    Event {
        /// The provider's id of it, or what stands for it.
        event_id: String,
        /// Its type, if it has one.
        event_type: Option<String>,
        /// When it came.
        #[serde(with = "ts_milliseconds")]
        received_at: DateTime<Utc>,
        /// The body, its secret blanked.
        body: String,
    },
    /// A webhook event that Postgres has, and that could not be settled.
    StoredEvent {
        /// Its row in `webhook_events`.
        row_id: Uuid,
    },
    /// A funnel event that Postgres has in its outbox, and that analytics refused.
    OutboxRow {
        /// Its row in `outbox`.
        row_id: Uuid,
    },
    /// Anything else, as JSON text of which every byte is kept.
    Job {
        /// What is to be done, as whoever owes it wrote it.
        body: String,
    },
}

impl Payload {
    /// What is owed, as JSON text.
    pub fn json(&self) -> Cow<'_, str> {
        match self {
            Self::Event { body, .. } | Self::Job { body } => Cow::Borrowed(body),
            Self::StoredEvent { row_id } | Self::OutboxRow { row_id } => {
                Cow::Owned(format!(r#"{{"row_id":"{row_id}"}}"#))
            }
        }
    }

    /// The names of its fields; none if it is no object.
    pub fn keys(&self) -> Vec<String> {
        let text = self.json();
        let fields = serde_json::from_str::<BTreeMap<String, &RawValue>>(&text);
        fields.map(|fields| fields.into_keys().collect()).unwrap_or_default()
    }
}

/// Why a letter cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Illegible {
    /// A newer version of us wrote it.
    Newer,
    /// Nobody can read it.
    Broken,
}

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    #[serde(flatten)]
    letter: &'a Letter,
    #[serde(flatten)]
    extra: &'a Extra,
}

impl Letter {
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Written { v: VERSION, letter: self, extra: &self.extra })
    }

    pub(super) fn from_json(json: &[u8]) -> Result<Self, Illegible> {
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_slice(json).map_err(|_| Illegible::Broken)?;
        let version = fields.get("v").and_then(|v| v.get().parse::<u32>().ok());
        if version.ok_or(Illegible::Broken)? > VERSION {
            return Err(Illegible::Newer);
        }
        let mut letter: Self = serde_json::from_slice(json).map_err(|_| Illegible::Broken)?;
        fields.retain(|name, _| !KNOWN.contains(&name.as_str()));
        letter.extra = Extra(fields);
        Ok(letter)
    }
}

// Written by hand, because a payload names people.
impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, error_class, attempt, .. } = self;
        let mut shown = f.debug_struct("Letter");
        shown.field("id", id).field("error_class", error_class).field("attempt", attempt);
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(payload: Payload) -> Letter {
        let at = "2026-01-02T03:04:05.678Z".parse().unwrap();
        Letter {
            id: "moyasar:e1".into(),
            source: "moyasar".into(),
            error: "the database did not confirm it".into(),
            error_class: "storage".into(),
            attempt: 0,
            max_retries: 5,
            created_at: at,
            last_attempt_at: None,
            next_attempt_at: at,
            request_id: "r1".into(),
            trace_id: None,
            payload,
            body_sha256: None,
            is_changed: false,
            original: None,
            extra: Extra::default(),
        }
    }

    fn event() -> Payload {
        let received_at = "2026-01-02T03:04:05Z".parse().unwrap();
        let body = "{\"id\":\"e1\", \"n\":1.50,\"note\":\"سلام\"}".to_owned();
        Payload::Event { event_id: "e1".into(), event_type: None, received_at, body }
    }

    #[test]
    fn a_letter_reads_as_it_was_written() {
        let attempted = Letter {
            last_attempt_at: Some("2026-01-02T03:04:06Z".parse().unwrap()),
            trace_id: Some("t1".into()),
            body_sha256: Some("00ff".into()),
            is_changed: true,
            ..letter(Payload::StoredEvent { row_id: Uuid::nil() })
        };
        let row = letter(Payload::OutboxRow { row_id: Uuid::nil() });
        let job = letter(Payload::Job { body: "{\"n\": 1.50,\n \"to\":\"سارة\"}".into() });
        let edited = Letter { original: Some(event()), ..job.clone() };
        for letter in [letter(event()), attempted, row, job, edited] {
            assert_eq!(Letter::from_json(letter.to_json().unwrap().as_bytes()), Ok(letter));
        }
    }

    #[test]
    fn the_written_form_does_not_change_by_accident() {
        assert_eq!(
            letter(Payload::StoredEvent { row_id: Uuid::nil() }).to_json().unwrap(),
            r#"{"v":1,"id":"moyasar:e1","source":"moyasar","error":"the database did not confirm it","error_class":"storage","attempt":0,"max_retries":5,"created_at":1767323045678,"next_attempt_at":1767323045678,"request_id":"r1","payload":{"kind":"stored_event","row_id":"00000000-0000-0000-0000-000000000000"}}"#
        );
    }

    #[test]
    fn a_letter_of_a_newer_version_is_told_from_a_broken_one() {
        let newer = r#"{"v":2,"of":"tomorrow"}"#;
        assert_eq!(Letter::from_json(newer.as_bytes()), Err(Illegible::Newer));
        for broken in ["", "x", "[]", "{}", r#"{"v":1}"#, r#"{"v":"1"}"#] {
            assert_eq!(Letter::from_json(broken.as_bytes()), Err(Illegible::Broken), "{broken}");
        }
        let unknown = letter(event()).to_json().unwrap().replace("\"event\"", "\"riddle\"");
        assert_eq!(Letter::from_json(unknown.as_bytes()), Err(Illegible::Broken));
    }

    #[test]
    fn what_a_later_release_wrote_beside_it_survives() {
        let written = letter(event()).to_json().unwrap();
        let beside = r#","beside":{"n": 1.50e400, "a":[1 ,2]},"mark":12345678901234567890123}"#;
        let written = format!("{}{beside}", written.strip_suffix('}').unwrap());
        let read = Letter::from_json(written.as_bytes()).unwrap();
        assert_eq!(Letter { extra: Extra::default(), ..read.clone() }, letter(event()));
        assert_ne!(read, letter(event()));
        assert_eq!(read.to_json().unwrap(), written);
    }

    #[test]
    fn every_field_is_known() {
        let at = "2026-01-02T03:04:06Z".parse().unwrap();
        let full = Letter {
            last_attempt_at: Some(at),
            trace_id: Some("t1".into()),
            body_sha256: Some("00ff".into()),
            is_changed: true,
            original: Some(event()),
            ..letter(event())
        };
        let written = full.to_json().unwrap();
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&written).unwrap();
        let mut known = KNOWN.map(str::to_owned);
        known.sort();
        assert_eq!(fields.into_keys().collect::<Vec<_>>(), known);
    }

    #[test]
    fn a_payload_tells_its_text_and_the_names_of_its_fields() {
        let job = |body: &str| Payload::Job { body: body.into() };
        assert_eq!(event().keys(), ["id", "n", "note"]);
        assert_eq!(job(r#"{"to":1,"from":{"a":2}}"#).keys(), ["from", "to"]);
        for body in ["[1]", "1", "", "{"] {
            assert_eq!((job(body).keys(), &*job(body).json()), (Vec::<String>::new(), body));
        }
        for row in [
            Payload::StoredEvent { row_id: Uuid::nil() },
            Payload::OutboxRow { row_id: Uuid::nil() },
        ] {
            assert_eq!(row.json(), r#"{"row_id":"00000000-0000-0000-0000-000000000000"}"#);
            assert_eq!(row.keys(), ["row_id"]);
        }
    }

    #[test]
    fn a_letter_shows_no_payload() {
        assert_eq!(
            format!("{:?}", letter(event())),
            r#"Letter { id: "moyasar:e1", error_class: "storage", attempt: 0, .. }"#
        );
    }
}
