//! The face of a letter: what it is found by in the indexes of its queue.

use redis::Cmd;

use super::letter::Letter;
use super::work::Content;
use crate::domain::fingerprint::fingerprint;
use crate::domain::redaction::redact;

/// How long a source or an error class may be: they are parts of keys.
const WORD: usize = 64;

/// How long a request id may be.
const REQUEST: usize = 128;

/// How much is kept of an error as the sample of its group.
const SAMPLE: usize = 300;

/// What a letter is found by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Face {
    created_ms: i64,
    error_class: String,
    source: String,
    group: String,
    request_id: String,
    /// The error, with nothing in it that must not leave.
    sample: String,
}

impl Face {
    pub fn of(letter: &Letter) -> Self {
        let (source, error_class) = (word(&letter.source), word(&letter.error_class));
        Self {
            created_ms: letter.created_at.timestamp_millis().max(0),
            group: fingerprint(&source, &error_class, &letter.error),
            error_class,
            source,
            request_id: request(&letter.request_id),
            sample: clip(&redact(&letter.error), SAMPLE),
        }
    }

    /// What cannot be read was made at `created_ms`.
    pub fn of_content(content: &Content, created_ms: i64) -> Self {
        match content {
            Content::Letter(letter) => Self::of(letter),
            Content::Newer => Self::blank("newer", created_ms),
            Content::Unreadable => Self::blank("unreadable", created_ms),
        }
    }

    fn blank(error_class: &str, created_ms: i64) -> Self {
        let source = "unknown".to_owned();
        Self {
            created_ms: created_ms.max(0),
            group: fingerprint(&source, error_class, ""),
            error_class: error_class.to_owned(),
            source,
            request_id: String::new(),
            sample: String::new(),
        }
    }

    /// In the place of a face that is not needed.
    pub fn none(command: &mut Cmd) {
        command.arg(&[""; 6]);
    }

    /// As scripts take it: created at, class, source, group, request, error.
    pub fn tell(&self, command: &mut Cmd) {
        command.arg(self.created_ms).arg(&self.error_class).arg(&self.source);
        command.arg(&self.group).arg(&self.request_id).arg(&self.sample);
    }
}

/// As an index knows a source or an error class.
pub(super) fn word(text: &str) -> String {
    let word = clip(text.trim(), WORD);
    if word.is_empty() { "unknown".to_owned() } else { word }
}

/// As the index of requests knows one.
pub(super) fn request(id: &str) -> String {
    clip(id, REQUEST)
}

fn clip(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_and_never_empty() {
        assert_eq!(word(" refused\0\n"), "refused");
        assert_eq!(word(&"x".repeat(99)).len(), WORD);
        assert_eq!(word(" \t"), "unknown");
        assert_eq!(request("r\u{0}1"), "r1");
    }
}
