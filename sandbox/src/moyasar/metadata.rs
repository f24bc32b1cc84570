//! Metadata: its limits, and how an update merges into what is there.

use serde_json::{Map, Value};

use super::errors::{ApiError, FieldErrors};

const MOST_KEYS: usize = 30;
const LONGEST_KEY: usize = 40;
const LONGEST_VALUE: usize = 500;

/// Reads the field of a new object; none sent, or an empty one, is null.
pub(super) fn parse(value: Option<&Value>, errors: &mut FieldErrors) -> Option<Map<String, Value>> {
    let value = value.filter(|value| !value.is_null())?;
    let Some(fields) = value.as_object() else {
        errors.add("metadata", "The value must be an object.");
        return None;
    };
    if fields.len() > MOST_KEYS {
        errors.add("metadata", format!("The value must have at most {MOST_KEYS} keys."));
    }
    if fields.keys().any(|key| key.is_empty() || key.chars().count() > LONGEST_KEY) {
        errors.add("metadata", format!("A key must have 1 to {LONGEST_KEY} characters."));
    }
    if fields
        .values()
        .any(|value| text(value).is_none_or(|text| text.chars().count() > LONGEST_VALUE))
    {
        errors.add(
            "metadata",
            format!("A value must be text of at most {LONGEST_VALUE} characters."),
        );
    }
    (!fields.is_empty()).then(|| fields.clone())
}

/// Reads an update, which must name its metadata and may only name `allowed` fields.
pub(super) fn parse_update(
    body: &Map<String, Value>,
    allowed: &[&str],
) -> Result<Option<Map<String, Value>>, ApiError> {
    if let Some(field) = body.keys().find(|field| !allowed.contains(&field.as_str())) {
        return Err(ApiError::refused(&format!("The field {field} cannot be updated.")));
    }
    let mut errors = FieldErrors::default();
    let metadata = parse(body.get("metadata"), &mut errors);
    errors.into_result()?;
    Ok(metadata)
}

/// Merges an update: an empty value removes its key, an empty update removes them all.
pub(super) fn merge(
    current: Option<Map<String, Value>>,
    update: Option<Map<String, Value>>,
) -> Option<Map<String, Value>> {
    let update = update?;
    let mut merged = current.unwrap_or_default();
    for (key, value) in update {
        if text(&value).is_some_and(|text| text.is_empty()) {
            merged.remove(&key);
        } else {
            merged.insert(key, value);
        }
    }
    (!merged.is_empty()).then_some(merged)
}

/// What a filter compares with. Numbers are stored as numbers and still found by their digits.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null => Some(String::new()),
        Value::Array(_) | Value::Object(_) => None,
    }
}
