//! Turns what a parser says into field errors: a place and a fault of ours, never the parser's words.

use std::fmt::Display;

use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::http::problems::{Fault, FieldError};

/// The fault that stopped a deserializer at `path`.
pub(super) fn of(path: &Path, error: &impl Display) -> FieldError {
    let message = error.to_string();
    let pointer = pointer(path);
    let name = message.split('`').nth(1).unwrap_or_default();
    let (pointer, fault) = if message.starts_with("missing field") {
        (join(&pointer, name), Fault::Required)
    } else if message.starts_with("unknown field") {
        (with_last(pointer, name), Fault::Unknown)
    } else if message.starts_with("duplicate field") {
        (with_last(pointer, name), Fault::InvalidValue)
    } else if message.starts_with("invalid type") {
        (pointer, Fault::WrongType)
    } else {
        (pointer, Fault::InvalidValue)
    };
    FieldError { pointer: pointer.into(), fault }
}

/// Every string or name with U+0000 in it.
pub(super) fn nuls(document: &Value) -> Vec<FieldError> {
    let mut found = Vec::new();
    collect_nuls(document, "", &mut found);
    found
}

fn collect_nuls(value: &Value, pointer: &str, found: &mut Vec<FieldError>) {
    let mut note = |pointer: &str| {
        let pointer = pointer.to_owned().into();
        found.push(FieldError { pointer, fault: Fault::ContainsNul });
    };
    match value {
        Value::String(text) if text.contains('\0') => note(pointer),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_nuls(item, &format!("{pointer}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let pointer = join(pointer, name);
                if name.contains('\0') {
                    found.push(FieldError {
                        pointer: pointer.clone().into(),
                        fault: Fault::ContainsNul,
                    });
                }
                collect_nuls(member, &pointer, found);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => (),
    }
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => join(&pointer, key),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

fn join(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// The pointer to a field that the deserializer may or may not have entered already.
fn with_last(pointer: String, name: &str) -> String {
    let last = join("", name);
    if pointer.ends_with(&last) { pointer } else { pointer + &last }
}
