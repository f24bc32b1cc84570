//! A story: everything that belongs to one id, how each of it stands, and what happened to it in order.
//! The words are in `words`.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::checkout::Locale;
use crate::domain::money::Halalas;
use crate::domain::redaction::redact;

mod words;

/// What an id can be the name of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, sqlx::Type, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[schema(as = StoryThing)]
pub enum Thing {
    /// One attempt to buy a plan.
    Checkout,
    /// A payment page at the provider.
    Invoice,
    /// A payment at the provider.
    Payment,
    /// A webhook event: by our id, or by the provider's.
    Event,
    /// A question to a person.
    Review,
    /// An event for analytics.
    AnalyticsEvent,
    /// A request to us.
    Request,
    /// What could not be done, in Redis.
    DeadLetter,
    /// The address of a customer.
    Email,
    /// What a customer may use.
    Subscription,
}

/// One thing of a story, as it is now.
#[derive(Clone, Debug)]
pub struct Actor {
    pub thing: Thing,
    /// Its name; a subscription has none that may be shown.
    pub id: Option<String>,
    /// Where it stands, in the word that its table has for it.
    pub state: String,
    /// What else says how it is: of a payment what was done about it, of an event what came of it.
    pub more: Option<String>,
    pub amount: Option<Halalas>,
    /// How often it failed.
    pub failures: i64,
}

/// How a thing of a story stands, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StoryActor)]
pub struct Shown {
    pub is: Thing,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("b61e6ba5-3682-4dd6-b804-69b84b2d451c"))]
    pub id: Option<String>,
    #[schema(examples("paid"))]
    pub state: String,
    #[schema(examples("A payment of 990 SAR: paid; what was bought was granted."))]
    pub text: String,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Happening {
    pub at: DateTime<Utc>,
    /// What kind of thing happened.
    pub what: String,
    /// To what: an id.
    pub subject: String,
    pub details: Value,
    pub request_id: Option<String>,
}

/// Something that happened, for people.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StoryLine)]
pub struct Line {
    pub at: DateTime<Utc>,
    #[schema(examples("webhook_received"))]
    pub what: String,
    #[schema(examples("b61e6ba5-3682-4dd6-b804-69b84b2d451c"))]
    pub subject: String,
    #[schema(examples("Moyasar told of something."))]
    pub text: String,
    /// What is known of it; addresses and numbers of people are blanked.
    #[schema(value_type = Object, example = json!({"type": "payment_paid", "status": "done"}))]
    pub details: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"))]
    pub request_id: Option<String>,
}

/// A story, for people.
#[derive(Clone, PartialEq, Debug, Serialize, utoipa::ToSchema)]
pub struct Story {
    /// What was asked for.
    #[schema(examples("b61e6ba5-3682-4dd6-b804-69b84b2d451c"))]
    pub id: String,
    pub is: Thing,
    /// Everything that belongs to it, as it is now.
    pub actors: Vec<Shown>,
    /// What happened, oldest first.
    pub timeline: Vec<Line>,
    /// Whether more happened than is shown; the newest is shown.
    pub is_cut: bool,
}

impl Actor {
    /// In the words of a language.
    pub fn shown(self, locale: Locale) -> Shown {
        let text = words::actor(&self, locale);
        Shown { is: self.thing, id: self.id, state: self.state, text }
    }
}

impl Happening {
    /// In the words of a language, without personal data.
    pub fn told(self, locale: Locale) -> Line {
        Line {
            at: self.at,
            text: words::happening(&self.what, locale).to_owned(),
            what: self.what,
            subject: redact(&self.subject).into_owned(),
            details: without_nulls(self.details),
            request_id: self.request_id,
        }
    }
}

/// What is not known is not shown, and texts are cleaned.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                known.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::String(text) => Value::String(redact(&text).into_owned()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_personal_is_blanked_at_any_depth_and_what_is_unknown_left_out() {
        let happening = Happening {
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
            what: "audit".to_owned(),
            subject: "someone@example.com".to_owned(),
            details: json!({
                "reason": "called 0501234567", "before": null,
                "after": {"status": "paid", "list": ["a@example.com", null, 5]},
            }),
            request_id: None,
        };
        let line = happening.told(Locale::En);
        assert_eq!(line.subject, "[address]");
        assert_eq!(
            line.details,
            json!({
                "reason": "called [number]",
                "after": {"status": "paid", "list": ["[address]", null, 5]},
            })
        );
    }
}
