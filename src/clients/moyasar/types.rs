//! What Moyasar sends and is sent. Read leniently: only ids must be there, and what cannot be read
//! is `None`, so that a person decides instead of a parser.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde::de::{DeserializeOwned, Error as _};
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
#[cfg_attr(not(test), expect(dead_code, reason = "for reconciliation, which compares all of it"))]
pub(crate) struct Invoice {
    #[serde(deserialize_with = "id")]
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
    #[serde(default, deserialize_with = "time")]
    pub expired_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "time")]
    pub created_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "time")]
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
#[cfg_attr(not(test), expect(dead_code, reason = "for reconciliation, which compares all of it"))]
pub(crate) struct Payment {
    #[serde(deserialize_with = "id")]
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
    #[serde(default, deserialize_with = "optional_id")]
    pub invoice_id: Option<String>,
    #[serde(default, deserialize_with = "time")]
    pub created_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "time")]
    pub updated_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "time")]
    pub refunded_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "time")]
    pub captured_at: Option<DateTime<Utc>>,
    #[serde(default, deserialize_with = "time")]
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
    #[serde(default, deserialize_with = "or_default")]
    meta: Meta,
}

/// Where a page stands among the others.
#[derive(Debug, Default, Deserialize)]
struct Meta {
    #[serde(default, deserialize_with = "integer")]
    next_page: Option<i64>,
}

impl InvoicePage {
    /// The number of the page behind this one, if there is one.
    pub fn next(&self) -> Option<i64> {
        self.meta.next_page
    }
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

/// The longest id that is taken for one; the provider's have 36 characters.
const LONGEST_ID: usize = 128;

/// An id that can be a key. Without one a payment cannot be told from others, which is an error.
fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let id = String::deserialize(from)?;
    if is_id(&id) { Ok(id) } else { Err(D::Error::custom("not an id")) }
}

/// An id that can be a key, if there is one.
fn optional_id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    or_default(from).map(|id: Option<String>| id.filter(|id| is_id(id)))
}

fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && !text.contains('\0')
}

/// A time that can be one of this service's life, or nothing: what was in the year 1 or will be in the
/// year 10000 is a mistake, and neither a date of Postgres nor one of JSON.
fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let time: Option<DateTime<Utc>> = or_default(from)?;
    Ok(time.filter(|time| (2000..10_000).contains(&time.year())))
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    fn fixture(name: &str) -> String {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/moyasar");
        fs::read_to_string(folder.join(name)).unwrap()
    }

    fn parse<T: DeserializeOwned>(name: &str) -> T {
        serde_json::from_str(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The payment in a webhook of that name.
    fn event_payment(name: &str) -> Payment {
        let mut event: Value = parse(&format!("{name}.json"));
        serde_json::from_value(event["data"].take())
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn every_invoice_of_the_papers_is_read() {
        for (name, status, payments) in [
            ("api/invoice_created_201.json", "initiated", 0),
            ("api/invoice_canceled_200.json", "canceled", 0),
            ("api/invoice_paid_callback_post.json", "paid", 2),
        ] {
            let invoice: Invoice = parse(name);
            assert_eq!(invoice.id, "62f746b4-84e6-4ceb-95bd-447e7184d454");
            assert_eq!((invoice.status.as_str(), invoice.payments.len()), (status, payments));
            assert_eq!((invoice.amount, invoice.currency.as_deref()), (Some(11_500), Some("SAR")));
            assert_eq!(invoice.created_at, Some(time("2026-11-18T09:40:00.011Z")));
            assert_eq!(invoice.expired_at, Some(time("2026-11-18T10:10:00Z")));
            assert!(invoice.updated_at.is_some());
            assert_eq!(invoice.metadata["order_id"], "ec7ac8ad-1b2b-406b-aae1-2c972399d29d");
            assert_eq!(invoice.url.unwrap().path(), format!("/invoices/{}", invoice.id));
            assert_eq!(invoice.payment_id, None);
        }
        let page: InvoicePage = parse("api/invoices_list_200.json");
        assert_eq!(page.invoices.len(), 1);
        assert!(page.invoices[0].payments.is_empty());
        assert!(page.invoices[0].payment_id.is_some());
    }

    #[test]
    fn every_payment_of_the_papers_is_read() {
        // Name, status, amount, refunded, captured.
        for (name, status, amount, refunded, captured) in [
            ("payment_paid", "paid", 11_500, 0, 0),
            ("payment_paid_live", "paid", 11_500, 0, 0),
            ("payment_paid_applepay", "paid", 25_000, 0, 0),
            ("payment_paid_stcpay", "paid", 11_500, 0, 0),
            ("payment_paid_no_invoice", "paid", 11_500, 0, 0),
            ("payment_paid_coupon", "paid", 9_775, 0, 0),
            ("payment_paid_amount_mismatch", "paid", 100, 0, 0),
            ("payment_failed", "failed", 11_500, 0, 0),
            ("payment_faild_docs_spelling", "failed", 11_500, 0, 0),
            ("payment_failed_3ds", "failed", 11_500, 0, 0),
            ("payment_abandoned", "initiated", 11_500, 0, 0),
            ("payment_expired_sadad", "expired", 11_500, 0, 0),
            ("payment_authorized", "authorized", 50_000, 0, 0),
            ("payment_captured", "captured", 50_000, 0, 50_000),
            ("payment_voided", "voided", 50_000, 0, 0),
            ("payment_refunded", "refunded", 11_500, 11_500, 0),
        ] {
            let payment = event_payment(name);
            assert_eq!(payment.status, status, "{name}");
            assert_eq!(payment.amount, Some(amount), "{name}");
            assert_eq!(payment.refunded, Some(refunded), "{name}");
            assert_eq!(payment.captured, Some(captured), "{name}");
            let fee = if name == "payment_paid_live" { 288 } else { 0 };
            assert_eq!(payment.fee, Some(fee), "{name}");
            assert_eq!(payment.currency.as_deref(), Some("SAR"), "{name}");
            assert!(payment.created_at.is_some() && payment.updated_at.is_some(), "{name}");
            assert_eq!(payment.refunded_at.is_some(), refunded > 0, "{name}");
            assert_eq!(payment.captured_at.is_some(), captured > 0, "{name}");
            assert_eq!(payment.voided_at.is_some(), status == "voided", "{name}");
        }
        assert_eq!(event_payment("payment_refunded_partial").refunded, Some(4_000));
        let captured = event_payment("payment_captured_partial").captured.unwrap();
        assert!(0 < captured && captured < 50_000);
        assert_eq!(event_payment("payment_verified").status, "verified");
        assert_eq!(event_payment("payment_paid_no_invoice").invoice_id, None);
        assert_eq!(event_payment("payment_paid_no_invoice").metadata, Value::Null);
        assert_eq!(event_payment("payment_failed").message(), Some("INSUFFICIENT FUNDS"));
        assert_eq!(event_payment("payment_abandoned").message(), None);
        assert_eq!(
            event_payment("payment_paid").invoice_id.as_deref(),
            Some("62f746b4-84e6-4ceb-95bd-447e7184d454")
        );
        let list: Value = parse("api/payments_list_200.json");
        let list: Vec<Payment> = serde_json::from_value(list["payments"].clone()).unwrap();
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn no_answer_of_the_papers_is_forgotten() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/moyasar/api");
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with("error_"))
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "invoice_canceled_200.json",
                "invoice_created_201.json",
                "invoice_paid_callback_post.json",
                "invoices_list_200.json",
                "payments_list_200.json",
                // Answers to calls that we do not make: they are read as what they are, JSON.
                "webhook_attempts_list_200.json",
                "webhook_created_201_unverified.json",
            ]
        );
        let attempts: Value = parse("api/webhook_attempts_list_200.json");
        assert!(attempts["webhook_attempts"].is_array());
        let webhook: Value = parse("api/webhook_created_201_unverified.json");
        assert_eq!(webhook["verified"], false);
    }

    #[test]
    fn an_error_body_is_no_object_of_theirs() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/moyasar/api");
        let mut errors = 0;
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            if file.file_name().unwrap().to_string_lossy().starts_with("error_") {
                let body = fs::read_to_string(file).unwrap();
                assert!(serde_json::from_str::<Invoice>(&body).is_err());
                assert!(serde_json::from_str::<Payment>(&body).is_err());
                errors += 1;
            }
        }
        assert_eq!(errors, 6);
    }

    #[test]
    fn an_id_is_enough() {
        let payment: Payment = serde_json::from_value(json!({ "id": "p" })).unwrap();
        assert_eq!((payment.status.as_str(), payment.amount), ("", None));
        assert_eq!((payment.metadata, payment.source), (Value::Null, Value::Null));
        let invoice: Invoice = serde_json::from_value(json!({ "id": "i" })).unwrap();
        assert_eq!((invoice.status.as_str(), invoice.payments.len()), ("", 0));
    }

    #[test]
    fn what_has_another_shape_is_none_and_never_a_guess() {
        let other = json!([{ "a": 1 }]);
        let payment: Payment = serde_json::from_value(json!({
            "id": "p", "status": other, "amount": 1.5, "currency": 7, "refunded": other,
            "captured": "many", "fee": true, "invoice_id": 9, "created_at": "yesterday",
            "updated_at": 1_700_000_000, "refunded_at": other, "captured_at": "", "voided_at": {},
            "metadata": "text", "source": other, "splits": other, "unheard_of": other,
        }))
        .unwrap();
        assert_eq!(payment.status, "");
        let amounts = [payment.amount, payment.refunded, payment.captured, payment.fee];
        assert_eq!(amounts, [None; 4]);
        let times = [payment.created_at, payment.updated_at, payment.refunded_at];
        assert_eq!(times, [None; 3]);
        assert_eq!((payment.captured_at, payment.voided_at), (None, None));
        assert_eq!((payment.currency, payment.invoice_id), (None, None));
        assert_eq!(payment.metadata, "text");

        let invoice: Invoice = serde_json::from_value(json!({
            "id": "i", "status": null, "amount": "11500", "url": "not a url", "payments": null,
            "expired_at": null, "payment_id": other,
        }))
        .unwrap();
        assert_eq!(invoice.amount, Some(11_500), "an old fixture writes amounts as text");
        assert_eq!((invoice.url, invoice.expired_at, invoice.payment_id), (None, None, None));
        assert!(invoice.payments.is_empty());
    }

    #[test]
    fn an_attempt_that_cannot_be_read_is_an_error_because_it_may_be_money() {
        let invoice = json!({ "id": "i", "payments": [{ "status": "paid" }] });
        assert!(serde_json::from_value::<Invoice>(invoice).is_err());
        let invoice = json!({ "id": "i", "payments": "none" });
        assert!(serde_json::from_value::<Invoice>(invoice).is_err());
        assert!(serde_json::from_value::<InvoicePage>(json!({ "invoices": [{}] })).is_err());
    }

    #[test]
    fn nothing_that_the_payer_typed_is_shown() {
        let shown = format!("{:?}", event_payment("payment_paid"));
        assert_eq!(
            shown,
            "Payment { id: \"b61e6ba5-3682-4dd6-b804-69b84b2d451c\", status: \"paid\", .. }"
        );
        let invoice: Invoice = parse("api/invoice_paid_callback_post.json");
        let shown = format!("{invoice:?}");
        assert_eq!(
            shown,
            "Invoice { id: \"62f746b4-84e6-4ceb-95bd-447e7184d454\", status: \"paid\", .. }"
        );
    }

    #[test]
    fn ids_that_can_be_no_key_and_times_that_never_were_are_not_believed() {
        let read = |id: &str, time: &str| {
            let json = json!({ "id": id, "invoice_id": id, "created_at": time });
            let invoice = serde_json::from_value::<Invoice>(json.clone());
            let payment = serde_json::from_value::<Payment>(json);
            assert_eq!(invoice.is_ok(), payment.is_ok());
            payment.map(|payment| (payment.invoice_id, payment.created_at)).ok()
        };
        let longest = "x".repeat(128);
        for (text, is_believed) in [
            ("2000-01-01T00:00:00Z", true),
            ("9999-12-31T23:59:59Z", true),
            ("1999-12-31T23:59:59Z", false),
            ("-262143-01-01T00:00:00Z", false),
            ("+10000-01-01T00:00:00Z", false),
        ] {
            let time = is_believed.then(|| text.parse().unwrap());
            assert_eq!(read(&longest, text), Some((Some(longest.clone()), time)), "{text}");
        }
        for id in ["", "a\0b", &"x".repeat(129)] {
            assert_eq!(read(id, "2000-01-01T00:00:00Z"), None, "{id}");
            let json = json!({ "id": "an-id", "invoice_id": id });
            assert_eq!(serde_json::from_value::<Payment>(json).unwrap().invoice_id, None);
        }
    }
}
