//! A webhook body, read once: who it claims to be from, what it is about, and the bytes that may
//! be kept. What it says about money is not read here, because it is not believed.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use secrecy::SecretString;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Mode;

/// The deepest nesting that is read; the body itself is level one.
const DEEPEST: usize = 64;
/// The longest id or type that is kept.
const LONGEST_WORD: usize = 128;
/// What stands in place of the token.
const REDACTED: &[u8] = b"\"[redacted]\"";

/// The body is not a JSON object in UTF-8 of bearable depth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the body is not a JSON object")]
pub(crate) struct InvalidJson;

/// A webhook body of which nobody has shown yet that it is from the provider. Reading it so far is
/// cheap: nothing was copied or hashed.
pub(crate) struct Unproved<'a> {
    text: &'a str,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// A webhook body. A key that occurs twice counts as one that cannot be read.
#[derive(Clone)]
pub(crate) struct Envelope {
    /// The event's id, if it has a usable one: see [`Envelope::key`].
    pub id: Option<String>,
    pub event_type: Option<String>,
    /// Which mode the event says it is from.
    pub live: Live,
    /// What it is about; none if `data` is missing or no object.
    pub data: Option<Subject>,
    /// The body, byte for byte, but for the value of `secret_token`.
    pub redacted: Vec<u8>,
    /// The SHA-256 of `redacted`.
    pub sha256: [u8; 32],
}

/// What `live` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Live {
    /// Nothing: verification events have no such key.
    Absent,
    /// A mode.
    Says(Mode),
    /// Something else than true or false.
    Unreadable,
}

/// What an event is about, as far as it says so in readable ids.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Subject {
    /// `data.id`, for `payment_*` events the payment.
    pub payment_id: Option<String>,
    pub invoice_id: Option<String>,
    /// The code of a `webhook_verification`, which an operator needs.
    pub verification_code: Option<String>,
}

impl<'a> Unproved<'a> {
    /// Reads a body as far as needed to say whose it is.
    pub fn parse(body: &'a [u8]) -> Result<Self, InvalidJson> {
        let text = std::str::from_utf8(body).map_err(|_| InvalidJson)?;
        if is_too_deep(body) {
            return Err(InvalidJson);
        }
        let Object(fields) = serde_json::from_str(text).map_err(|_| InvalidJson)?;
        Ok(Self { text, fields })
    }

    /// The shared secret that came with it, still to be recognised.
    pub fn secret_token(&self) -> Option<SecretString> {
        Field::only(&self.fields, "secret_token").value().and_then(parsed)
    }

    /// The body, byte for byte, but for the value of `secret_token`.
    pub fn redacted(&self) -> Vec<u8> {
        redact(self.text, &self.fields)
    }

    /// Reads the rest.
    pub fn open(self) -> Envelope {
        let only = |name: &str| Field::only(&self.fields, name);
        let redacted = self.redacted();
        Envelope {
            id: only("id").value().and_then(event_id),
            event_type: only("type").value().and_then(word),
            live: match only("live") {
                Field::Absent => Live::Absent,
                Field::Twice => Live::Unreadable,
                Field::Once(raw) => match parsed(raw) {
                    Some(true) => Live::Says(Mode::Live),
                    Some(false) => Live::Says(Mode::Test),
                    None => Live::Unreadable,
                },
            },
            data: only("data").value().and_then(Subject::of),
            sha256: Sha256::digest(&redacted).into(),
            redacted,
        }
    }
}

impl Envelope {
    /// Reads a body that was proved to be the provider's before.
    pub fn parse(body: &[u8]) -> Result<Self, InvalidJson> {
        Unproved::parse(body).map(Unproved::open)
    }

    /// What makes the event unique: its id, else `sha256:` and the digest of its redacted body.
    pub fn key(&self) -> String {
        self.id.clone().unwrap_or_else(|| format!("sha256:{}", self.sha256_hex()))
    }

    /// The digest in lower-case hex.
    pub fn sha256_hex(&self) -> String {
        let halves = self.sha256.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        halves.filter_map(|half| char::from_digit(half.into(), 16)).collect()
    }
}

// Written by hand, because the body names people.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, event_type, .. } = self;
        let mut shown = f.debug_struct("Envelope");
        shown.field("id", id).field("event_type", event_type).finish_non_exhaustive()
    }
}

impl Subject {
    fn of(data: &RawValue) -> Option<Self> {
        if !data.get().starts_with('{') {
            return None;
        }
        let Object(fields) = serde_json::from_str(data.get()).ok()?;
        let text = |name: &str| Field::only(&fields, name).value().and_then(word);
        let id = |name: &str| text(name).filter(|id| is_plain(id));
        Some(Self {
            payment_id: id("id"),
            invoice_id: id("invoice_id"),
            verification_code: text("verification_code"),
        })
    }
}

/// The entries of a JSON object in their order, doubles included.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    entries.push((key, value));
                }
                Ok(Object(entries))
            }
        }

        from.deserialize_map(Entries)
    }
}

/// A key, borrowed unless it is written with escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// How often a key occurs, and its value if once.
enum Field<'a> {
    Absent,
    Once(&'a RawValue),
    Twice,
}

impl<'a> Field<'a> {
    fn only(fields: &[(Cow<'a, str>, &'a RawValue)], name: &str) -> Self {
        let mut found = fields.iter().filter(|(key, _)| key == name);
        match (found.next(), found.next()) {
            (None, _) => Self::Absent,
            (Some((_, raw)), None) => Self::Once(raw),
            (Some(_), Some(_)) => Self::Twice,
        }
    }

    fn value(self) -> Option<&'a RawValue> {
        match self {
            Self::Once(raw) => Some(raw),
            Self::Absent | Self::Twice => None,
        }
    }
}

fn parsed<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

/// A string, or a number as it is written.
fn event_id(raw: &RawValue) -> Option<String> {
    if parsed::<serde_json::Number>(raw).is_some() {
        return Some(raw.get().to_owned()).filter(|id| is_keepable(id));
    }
    word(raw)
}

fn word(raw: &RawValue) -> Option<String> {
    parsed(raw).filter(|text: &String| is_keepable(text))
}

/// Postgres takes no U+0000 in a text.
fn is_keepable(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= LONGEST_WORD && !text.contains('\0')
}

/// Whether it can be a segment of a URL as it stands.
fn is_plain(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The text with the value of every `secret_token` replaced, whatever it is.
fn redact(text: &str, fields: &[(Cow<'_, str>, &RawValue)]) -> Vec<u8> {
    let mut redacted = Vec::with_capacity(text.len() + REDACTED.len());
    let mut kept = 0;
    for (_, token) in fields.iter().filter(|(key, _)| key == "secret_token") {
        let Range { start, end } = position(text, token.get());
        redacted.extend_from_slice(text.get(kept..start).unwrap_or_default().as_bytes());
        redacted.extend_from_slice(REDACTED);
        kept = end;
    }
    redacted.extend_from_slice(text.get(kept..).unwrap_or_default().as_bytes());
    redacted
}

/// Where in `text` its slice `part` lies.
fn position(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(text.as_ptr().addr());
    start..start + part.len()
}

/// Whether the nesting goes deeper than [`DEEPEST`]. The parser would not say, because it skips
/// values without recursion.
fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => {
                depth += 1;
                if depth > DEEPEST {
                    return true;
                }
            }
            b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
            _ => (),
        }
    }
    false
}

#[cfg(test)]
mod tests;
