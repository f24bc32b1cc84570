//! What may be shown of a document that names people: every key, and the values that are known to be
//! harmless. What nobody has thought of stays hidden.

use serde_json::Value;

use crate::domain::redaction::redact;

/// What stands for a value that is not shown.
const HIDDEN: &str = "[redacted]";

/// The keys whose values say nothing about a person.
const HARMLESS: [&str; 34] = [
    "amount",
    "amount_halalas",
    "attempt",
    "captured",
    "captured_at",
    "checkout_id",
    "class",
    "created_at",
    "currency",
    "dedupe_key",
    "error_class",
    "event",
    "event_id",
    "event_type",
    "fee",
    "id",
    "invoice_id",
    "kind",
    "live",
    "outcome",
    "payment_id",
    "plan",
    "plan_id",
    "queue",
    "received_at",
    "refunded",
    "refunded_at",
    "row_id",
    "status",
    "type",
    "updated_at",
    "uuid",
    "version",
    "voided_at",
];

/// The document with every value blanked that is not known to be harmless; its shape stays.
pub fn veiled(document: &Value) -> Value {
    veil(None, document)
}

fn veil(key: Option<&str>, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let veiled = fields.iter().map(|(key, value)| (key.clone(), veil(Some(key), value)));
            Value::Object(veiled.collect())
        }
        // The items of a list are as harmless as the list.
        Value::Array(items) => items.iter().map(|item| veil(key, item)).collect(),
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(_) if is_harmless(key) => value.clone(),
        // Also a key that is harmless as a rule may hold what was put there by mistake.
        Value::String(text) if is_harmless(key) => redact(text).into(),
        Value::Number(_) | Value::String(_) => HIDDEN.into(),
    }
}

fn is_harmless(key: Option<&str>) -> bool {
    key.is_some_and(|key| HARMLESS.contains(&key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_names_a_person_is_hidden_and_the_shape_stays() {
        let event = json!({
            "id": "0b5e7a5c-6f0e-4d8b-9f5e-2f6a1c3d4e5f",
            "type": "payment_paid",
            "live": false,
            "data": {
                "status": "paid",
                "amount": 99_000,
                "description": "Plan of Sara",
                "ip": "203.0.113.7",
                "metadata": { "tenant": "acme", "checkout_id": null, "tags": ["a", 7] },
                "source": { "type": "creditcard", "name": "Sara", "number": "XXXX-1111" },
            },
        });
        assert_eq!(
            veiled(&event),
            json!({
                "id": "0b5e7a5c-6f0e-4d8b-9f5e-2f6a1c3d4e5f",
                "type": "payment_paid",
                "live": false,
                "data": {
                    "status": "paid",
                    "amount": 99_000,
                    "description": "[redacted]",
                    "ip": "[redacted]",
                    "metadata": { "tenant": "[redacted]", "checkout_id": null, "tags": ["[redacted]", "[redacted]"] },
                    "source": { "type": "creditcard", "name": "[redacted]", "number": "[redacted]" },
                },
            })
        );
    }

    #[test]
    fn what_looks_like_a_person_is_hidden_wherever_it_stands() {
        let odd = json!({ "id": "sara@example.com", "type": ["0512345678"], "status": { "a": 1 } });
        assert_eq!(
            veiled(&odd),
            json!({ "id": "[address]", "type": ["[number]"], "status": { "a": "[redacted]" } })
        );
        for scalar in [json!("Sara"), json!(512_345_678)] {
            assert_eq!(veiled(&scalar), "[redacted]");
        }
        assert_eq!(veiled(&json!(true)), true);
    }
}
