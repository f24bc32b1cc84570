//! A place in a list that is sorted by time and id, written so that nobody builds upon what it says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The place behind something that was made at some time and has some id. It holds also when that is
/// gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    pub(super) at_ms: i64,
    pub(super) id: Vec<u8>,
}

/// A text that is no cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is not a cursor that we gave")]
pub struct BadCursor;

/// How long an id in a cursor may be.
const ID: usize = 1024;

impl Cursor {
    /// The id of what it is behind.
    pub fn id(&self) -> String {
        String::from_utf8_lossy(&self.id).into_owned()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.at_ms)?;
        self.id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let is_hex = text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        let (at, id) = text.split_at_checked(12).ok_or(BadCursor)?;
        if !is_hex || id.is_empty() || id.len() % 2 != 0 || id.len() > 2 * ID {
            return Err(BadCursor);
        }
        let at_ms = i64::from_str_radix(at, 16).map_err(|_| BadCursor)?;
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).map_err(|_| BadCursor)?;
            u8::from_str_radix(pair, 16).map_err(|_| BadCursor)
        };
        let id = id.as_bytes().chunks(2).map(byte).collect::<Result<_, _>>()?;
        Ok(Self { at_ms, id })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_written() {
        for id in [b"a".as_slice(), "moyasar:é".as_bytes(), &[0xff, 0], &[b'x'; ID]] {
            let cursor = Cursor { at_ms: 1_767_323_045_678, id: id.to_vec() };
            assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
            let json = serde_json::to_string(&cursor).unwrap();
            assert_eq!(serde_json::from_str::<Cursor>(&json).unwrap(), cursor);
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let long = "0".repeat(12 + 2 * ID + 2);
        let texts =
            ["", "x", "00000000000", "000000000000", "000000000000a", "00000000000gaa", &long];
        for text in texts.into_iter().chain(["+00000000000aa", "سسسسسسسسسسسسسس", "00000000000Aaa"])
        {
            assert_eq!(text.parse::<Cursor>(), Err(BadCursor), "{text}");
        }
    }
}
