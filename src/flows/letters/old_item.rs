//! What an entry of a predecessor's queue says. There were two ways of writing one; both are read,
//! also where they are mixed or fields are missing. What becomes of it is decided elsewhere.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::clients::moyasar::envelope::Envelope;
use crate::domain::redaction::redact;
use crate::domain::webhook::{Relevance, relevance};

/// More attempts than a predecessor can have made.
const MOST_ATTEMPTS: u32 = 1_000_000;

/// Most characters that are kept of a word that becomes part of an index, and of an error.
const LONGEST_WORD: usize = 64;
const LONGEST_ERROR: usize = 500;

/// How deep a provider's event is looked for, and in how many places at each depth.
const WRAPPERS: usize = 3;
const PLACES: usize = 64;

/// A number of seconds as large as this one is a number of milliseconds.
const TOO_LATE: i64 = 100_000_000_000;

/// An entry, as far as it says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OldItem {
    /// What was owed, as it was written.
    pub payload: String,
    /// Everything else that it said, to be lost by nobody.
    pub remarks: String,
    pub source: Option<String>,
    /// Without personal data.
    pub error: String,
    pub attempts: u32,
    pub first_at: Option<DateTime<Utc>>,
    pub last_at: Option<DateTime<Utc>>,
    pub request_id: Option<String>,
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

impl OldItem {
    /// Reads an entry; nothing if it is none.
    pub fn read(text: &str) -> Option<Self> {
        let mut fields: Fields<'_> = serde_json::from_str(text).ok()?;
        let payload = match fields.remove("payload") {
            Some(payload) => payload.get().to_owned(),
            // Some wrote the event itself.
            None if fields.contains_key("data") => text.to_owned(),
            None => return None,
        };
        let word = |names: &[&str]| first(&fields, names).and_then(word);
        let at = |names: &[&str]| first(&fields, names).and_then(moment);
        let error = [word(&["error_class"]), first(&fields, &["error"]).map(shown)];
        let error = error.into_iter().flatten().collect::<Vec<_>>().join(": ");
        Some(Self {
            payload,
            remarks: serde_json::to_string(&fields).ok()?,
            source: word(&["source"]),
            error: redact(&error).chars().take(LONGEST_ERROR).collect(),
            attempts: first(&fields, &["attempts", "attempt"])
                .and_then(parsed)
                .unwrap_or(0)
                .min(MOST_ATTEMPTS),
            first_at: at(&["first_seen_at", "created_at"]),
            last_at: at(&["last_attempt_at"]),
            request_id: word(&["request_id"]).filter(|id| is_request_id(id)),
        })
    }
}

/// The provider's event inside a payload: itself, or within whatever was wrapped around it, also as a
/// text. One of a type that moves money is preferred, because wrappers may look like events as well.
pub(super) fn event_in(payload: &str) -> Option<Envelope> {
    let mut places = vec![payload.to_owned()];
    let mut found = None;
    for _ in 0..=WRAPPERS {
        let mut inner = Vec::new();
        for place in places.iter().filter(|place| place.trim_start().starts_with('{')) {
            let Ok(fields) = serde_json::from_str::<Fields<'_>>(place) else { continue };
            inner.extend(fields.values().take(PLACES).filter_map(|value| inside(value)));
            let Ok(envelope) = Envelope::parse(place.as_bytes()) else { continue };
            if envelope.data.is_some() && envelope.event_type.is_some() {
                if relevance(envelope.event_type.as_deref()) == Relevance::Processed {
                    return Some(envelope);
                }
                found = found.or(Some(envelope));
            }
        }
        inner.truncate(PLACES);
        places = inner;
    }
    found
}

/// A value that may hold an event, or be a text that does.
fn inside(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first() {
        Some(b'{') => Some(value.get().to_owned()),
        Some(b'"') => parsed(value),
        _ => None,
    }
}

fn first<'a>(fields: &Fields<'a>, names: &[&str]) -> Option<&'a RawValue> {
    let mut present = names.iter().filter_map(|name| fields.get(*name));
    present.find(|value| value.get() != "null").copied()
}

fn parsed<T: DeserializeOwned>(value: &RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// A text, or how else it is written.
fn shown(value: &RawValue) -> String {
    parsed(value).unwrap_or_else(|| value.get().to_owned())
}

fn word(value: &RawValue) -> Option<String> {
    parsed(value).and_then(|text: String| clipped(&text))
}

/// The text without what cannot be part of a name; nothing if nothing is left.
pub(super) fn clipped(text: &str) -> Option<String> {
    let clean = redact(text);
    let letters = clean.chars().filter(|letter| !letter.is_control()).take(LONGEST_WORD);
    Some(letters.collect()).filter(|word: &String| !word.is_empty())
}

fn is_request_id(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A time: seconds since 1970, or text with or without an offset. Without one it is UTC.
fn moment(value: &RawValue) -> Option<DateTime<Utc>> {
    let text = shown(value);
    let with_offset = || Some(DateTime::parse_from_rfc3339(&text).ok()?.to_utc());
    let without = |format| Some(NaiveDateTime::parse_from_str(&text, format).ok()?.and_utc());
    with_offset()
        .or_else(|| without("%Y-%m-%dT%H:%M:%S%.f"))
        .or_else(|| without("%Y-%m-%d %H:%M:%S%.f"))
        .or_else(|| since_1970(&text))
}

/// Decimal seconds, read without floats: `1775380000.25`.
fn since_1970(text: &str) -> Option<DateTime<Utc>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    if whole >= TOO_LATE {
        return DateTime::from_timestamp_millis(whole);
    }
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    DateTime::from_timestamp(whole, nanos.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn both_ways_of_writing_are_read_and_the_payload_stays_as_it_was() {
        let payload = r#"{"to": "x", "n": 1.50, "big": 12345678901234567890.10}"#;
        let b = format!(
            r#"{{"id": "0f", "queue": "outbound", "source": "whatsapp", "payload": {payload}, "error": "to a@b.example", "attempts": 3, "first_seen_at": 1775380000.25, "last_attempt_at": 1775380060.0, "metadata": {{"k": 1}}}}"#
        );
        let read = OldItem::read(&b).unwrap();
        let expected = OldItem {
            payload: payload.to_owned(),
            remarks: r#"{"attempts":3,"error":"to a@b.example","first_seen_at":1775380000.25,"id":"0f","last_attempt_at":1775380060.0,"metadata":{"k": 1},"queue":"outbound","source":"whatsapp"}"#.to_owned(),
            source: Some("whatsapp".to_owned()),
            error: "to [address]".to_owned(),
            attempts: 3,
            first_at: Some(at("2026-04-05T09:06:40.25Z")),
            last_at: Some(at("2026-04-05T09:07:40Z")),
            request_id: None,
        };
        assert_eq!(read, expected);

        let a = format!(
            r#"{{"id": "0f", "source": "whatsapp", "payload": {payload}, "error": "to a@b.example", "error_class": "Timeout", "attempt": 3, "max_retries": 5, "created_at": "2026-04-05T12:06:40.250000+03:00", "last_attempt_at": "2026-04-05T09:07:40", "request_id": "req-1"}}"#
        );
        let read = OldItem::read(&a).unwrap();
        let error = "Timeout: to [address]".to_owned();
        let request_id = Some("req-1".to_owned());
        assert_eq!(read, OldItem { error, request_id, remarks: read.remarks.clone(), ..expected });
    }

    #[test]
    fn what_is_missing_or_odd_is_left_out() {
        let odd = json!({
            "payload": [1], "error": {"code": 7}, "attempts": "many", "attempt": -1, "source": 5,
            "created_at": "yesterday", "last_attempt_at": null, "request_id": "a b",
        });
        let bare = OldItem::read(r#"{"payload":[1]}"#).unwrap();
        assert_eq!(bare.remarks, "{}");
        let read = OldItem::read(&odd.to_string()).unwrap();
        let error = r#"{"code":7}"#.to_owned();
        assert_eq!(
            OldItem { error, remarks: bare.remarks.clone(), ..bare },
            OldItem { remarks: "{}".to_owned(), ..read }
        );
        let event = r#"{"id":"e","type":"payment_paid","data":{}}"#;
        assert_eq!(OldItem::read(event).unwrap().payload, event);
    }

    #[test]
    fn what_is_no_entry_is_not_read() {
        for text in
            ["", "x", "[]", "\"x\"", "null", "1", "{}", r#"{"id":"1"}"#, r#"{"payload":NaN}"#]
        {
            assert_eq!(OldItem::read(text), None, "{text}");
        }
    }

    #[test]
    fn times_are_read_in_every_spelling() {
        let cases = [
            (json!(1_775_380_000), Some(at("2026-04-05T09:06:40Z"))),
            (json!(1_775_380_000_250_i64), Some(at("2026-04-05T09:06:40.25Z"))),
            (json!("1775380000.5"), Some(at("2026-04-05T09:06:40.5Z"))),
            (json!("2026-04-05T09:06:40Z"), Some(at("2026-04-05T09:06:40Z"))),
            (json!("2026-04-05 09:06:40.5"), Some(at("2026-04-05T09:06:40.5Z"))),
            (json!(""), None),
            (json!(-1.5), DateTime::from_timestamp(-1, 500_000_000)),
            (json!([1]), None),
        ];
        for (written, expected) in cases {
            let raw = serde_json::value::to_raw_value(&written).unwrap();
            assert_eq!(moment(&raw), expected, "{written}");
        }
    }

    #[test]
    fn the_event_is_found_in_whatever_was_wrapped_around_it() {
        let event = json!({"id": "e1", "type": "payment_paid", "data": {"id": "p1"}});
        let text = event.to_string();
        let wrapped = [
            event.clone(),
            json!({"event": event, "signature": "x"}),
            json!({"raw_event": text}),
            json!({"type": "webhook", "data": event}),
            json!({"body": {"request": {"body": text}}}),
        ];
        for payload in wrapped {
            let found = event_in(&payload.to_string()).unwrap();
            assert_eq!((found.id.as_deref(), found.redacted), (Some("e1"), text.clone().into()));
        }
        let other = json!({"id": "e2", "type": "balance_transferred", "data": {}});
        assert_eq!(
            event_in(&json!({"event": other}).to_string()).unwrap().id.as_deref(),
            Some("e2")
        );
        for no_event in [
            json!({"id": "e1", "event_type": "payment_paid", "data": {"id": "p1"}}),
            json!({"id": "e1", "type": "payment_paid", "data": "p1"}),
            json!([event]),
            json!("x"),
            json!({"a": {"b": {"c": {"d": event}}}}),
        ] {
            assert!(event_in(&no_event.to_string()).is_none(), "{no_event}");
        }
    }
}
