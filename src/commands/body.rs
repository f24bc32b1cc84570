//! What tables show of the API's answers.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

/// A text of an answer; nothing where it has none.
pub(super) fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Whatever it is, in one cell.
pub(super) fn cell(of: &Value, name: &str) -> String {
    match of.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A whole number of an answer.
pub(super) fn number(of: &Value, name: &str) -> u64 {
    of.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// A list of an answer; empty where it has none.
pub(super) fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A time that is a number of seconds since 1970, to the second.
pub(super) fn moment(of: &Value, name: &str) -> String {
    let seconds = cell(of, name);
    let whole = seconds.split('.').next().and_then(|whole| whole.parse().ok());
    let time: Option<DateTime<Utc>> = whole.and_then(|whole| DateTime::from_timestamp(whole, 0));
    time.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default()
}

/// The first characters of a text that may be long.
pub(super) fn short(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moment_is_shown_to_the_second_and_what_is_none_is_left_out() {
        let body = json!({ "a": 1_767_323_045, "b": 1_767_323_045.123, "c": null, "d": "soon" });
        for name in ["a", "b"] {
            assert_eq!(moment(&body, name), "2026-01-02T03:04:05Z");
        }
        for name in ["c", "d", "e"] {
            assert_eq!(moment(&body, name), "");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(short("خطأ", 3), "خطأ");
        assert_eq!(short("خطأ طويل", 3), "خطأ…");
    }
}
