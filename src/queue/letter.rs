//! A dead letter and how it is written down. Where letters are kept is the business of `letters`.

use std::fmt;

use chrono::serde::{ts_milliseconds, ts_milliseconds_option};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The way letters are written now. A letter of a newer way is left to whoever understands it.
const VERSION: u32 = 1;

/// Something that we owe, and how often we failed to do it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// The same thing has the same id, so that it is owed once.
    pub id: String,
    /// Who could not do it.
    pub source: String,
    /// Why it is here, or failed last.
    pub error: String,
    pub error_class: String,
    /// How many attempts of this queue have failed.
    pub attempt: u32,
    /// After so many it is dead.
    pub max_retries: u32,
    #[serde(with = "ts_milliseconds")]
    pub created_at: DateTime<Utc>,
    #[serde(with = "ts_milliseconds_option", default, skip_serializing_if = "Option::is_none")]
    pub last_attempt_at: Option<DateTime<Utc>>,
    #[serde(with = "ts_milliseconds")]
    pub next_attempt_at: DateTime<Utc>,
    pub request_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    pub payload: Payload,
    /// What its event's body was when it came first, to know another one by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<String>,
    /// Whether the event came again with another body.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_changed: bool,
}

/// What is owed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Payload {
    /// A webhook event that Postgres could not take; everything else about it is read from its body.
    Event {
        event_id: String,
        event_type: Option<String>,
        #[serde(with = "ts_milliseconds")]
        received_at: DateTime<Utc>,
        /// The body, its secret blanked.
        body: String,
    },
    /// A webhook event that Postgres has, and that could not be settled.
    StoredEvent { row_id: Uuid },
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
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Letter {
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Written { v: VERSION, letter: self })
    }

    pub(super) fn from_json(json: &[u8]) -> Result<Self, Illegible> {
        let Version { v } = serde_json::from_slice(json).map_err(|_| Illegible::Broken)?;
        if v > VERSION {
            return Err(Illegible::Newer);
        }
        serde_json::from_slice(json).map_err(|_| Illegible::Broken)
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
        for letter in [letter(event()), attempted] {
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
    fn a_letter_shows_no_payload() {
        assert_eq!(
            format!("{:?}", letter(event())),
            r#"Letter { id: "moyasar:e1", error_class: "storage", attempt: 0, .. }"#
        );
    }
}
