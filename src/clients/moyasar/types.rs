//! What Moyasar sends and is sent. Read leniently: only ids must be there, and what cannot be read
//! is `None`, so that a person decides instead of a parser.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use url::Url;

/// A hosted payment page to ask for.
#[derive(Debug, Serialize)]
pub(crate) struct NewInvoice<'a> {
    /// In halalas, at least 100.
    pub amount: i64,
    pub currency: &'a str,
    /// Shown to the payer.
    pub description: &'a str,
    /// Where Moyasar posts the invoice when it was paid.
    pub callback_url: &'a Url,
    /// Where the browser goes after the payment.
    pub success_url: &'a Url,
    /// Where the browser goes when the payer turns back.
    pub back_url: &'a Url,
    #[serde(serialize_with = "in_milliseconds")]
    pub expired_at: DateTime<Utc>,
    /// At most 30 keys of 40 characters with values of 500; no personal data.
    pub metadata: BTreeMap<&'a str, &'a str>,
}

/// A hosted payment page.
#[derive(Clone, Deserialize)]
pub(crate) struct Invoice {
    pub id: String,
    /// An open set: `initiated`, `paid`, `failed`, `refunded`, `canceled`, `expired`, ….
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    #[serde(default, deserialize_with = "integer")]
    pub amount: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub currency: Option<String>,
    /// Where the payer pays.
    #[serde(default, deserialize_with = "or_default")]
    pub url: Option<Url>,
    #[serde(default, deserialize_with = "or_default")]
    pub expired_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "or_default")]
    pub created_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "or_default")]
    pub updated_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub metadata: Value,
    /// Every attempt to pay, failed ones included. Absent in lists: fetch the invoice.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub payments: Vec<Payment>,
    /// The payment that paid it, in older lists.
    #[serde(default, deserialize_with = "or_default")]
    pub payment_id: Option<String>,
}

/// One attempt to pay.
#[derive(Clone, Deserialize)]
pub(crate) struct Payment {
    pub id: String,
    /// An open set: `initiated`, `paid`, `authorized`, `failed`, `refunded`, `captured`, `voided`, ….
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    #[serde(default, deserialize_with = "integer")]
    pub amount: Option<i64>,
    #[serde(default, deserialize_with = "or_default")]
    pub currency: Option<String>,
    /// The total refunded so far.
    #[serde(default, deserialize_with = "integer")]
    pub refunded: Option<i64>,
    /// The total captured; 0 on an ordinary `paid` payment.
    #[serde(default, deserialize_with = "integer")]
    pub captured: Option<i64>,
    /// An estimate.
    #[serde(default, deserialize_with = "integer")]
    pub fee: Option<i64>,
    /// The invoice it was made on.
    #[serde(default, deserialize_with = "or_default")]
    pub invoice_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub created_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "or_default")]
    pub updated_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "or_default")]
    pub refunded_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "or_default")]
    pub captured_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "or_default")]
    pub voided_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub metadata: Value,
    /// How it was paid; holds the card holder's name.
    #[serde(default)]
    pub source: Value,
}

impl Payment {
    /// What the bank said, for the payer.
    pub fn message(&self) -> Option<&str> {
        self.source.get("message")?.as_str()
    }
}

// Written by hand, because what the payer typed must not reach a log.
impl fmt::Debug for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, status, .. } = self;
        f.debug_struct("Payment").field("id", id).field("status", status).finish_non_exhaustive()
    }
}

impl fmt::Debug for Invoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, status, .. } = self;
        f.debug_struct("Invoice").field("id", id).field("status", status).finish_non_exhaustive()
    }
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct InvoicePage {
    #[serde(default, deserialize_with = "null_as_empty")]
    pub invoices: Vec<Invoice>,
}

fn in_milliseconds<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The value, or the default where there is something else.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// An integer, also when it is written as a string (which fixtures of 2016 show).
fn integer<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(value.as_i64().or_else(|| value.as_str()?.parse().ok()))
}

/// A list, where null is an empty one; an entry that cannot be read is an error, because it may be
/// money.
fn null_as_empty<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
