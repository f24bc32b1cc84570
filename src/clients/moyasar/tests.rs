//! The Moyasar client on the wire: what it sends, and what it makes of every kind of answer.

use std::collections::BTreeMap;
use std::error::Error;

use dealix_sandbox::{Options, Sandbox};
use serde_json::{Value, json};

use super::*;
use crate::clients::Flaw;
use crate::clients::breaker::State;
use crate::clients::breakers::Breakers;
use crate::clients::stub::{Reply, Stub, answer};
use crate::config::BreakerConfig;

const KEY: &str = "sk_test_a-key-of-nobody";
const INVOICE: &str = include_str!("../../../tests/fixtures/moyasar/api/invoice_created_201.json");
const PAID: &str =
    include_str!("../../../tests/fixtures/moyasar/api/invoice_paid_callback_post.json");
const LIST: &str = include_str!("../../../tests/fixtures/moyasar/api/invoices_list_200.json");
const INVOICE_ID: &str = "62f746b4-84e6-4ceb-95bd-447e7184d454";

fn config(base_url: Url) -> MoyasarConfig {
    MoyasarConfig {
        base_url,
        secret_key: Some(KEY.into()),
        publishable_key: None,
        webhook_secret: None,
        webhook_secret_next: None,
        timeout_secs: 10,
        breaker: BreakerConfig {
            consecutive_failures: 5,
            window_secs: 60,
            window_calls: 0,
            minimum_calls: 10,
            failure_percent: 50,
            slow_percent: 80,
            slow_call_ms: 5_000,
            cooldown_secs: 60,
            max_cooldown_secs: 300,
            probe_lease_secs: 30,
        },
    }
}

fn moyasar(base_url: Url) -> Moyasar {
    let config = config(base_url);
    let clock = Clock::held("2026-11-20T09:00:00Z".parse().unwrap());
    let breaker = Breakers::new(clock.clone(), false).add(CLIENT, config.breaker);
    Moyasar::new(&config, breaker, clock).unwrap().unwrap()
}

async fn fetch_from(stub: &Stub) -> Result<Invoice, ClientError> {
    moyasar(stub.url.clone()).fetch_invoice(INVOICE_ID).await
}

/// The request line, the headers and the body of the only request.
fn only_request(stub: &Stub) -> (String, Vec<String>, String) {
    let requests = stub.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines().map(str::to_owned);
    (lines.next().unwrap(), lines.collect(), body.to_owned())
}

#[tokio::test]
async fn creating_an_invoice_sends_what_the_buyer_owes_and_who_we_are() {
    let stub = Stub::json("201 Created", INVOICE);
    let page = "https://api.dealix.me/checkout/0198".parse().unwrap();
    let callback = "https://api.dealix.me/paid?token=1".parse().unwrap();
    let new = NewInvoice {
        amount: 99_000,
        currency: "SAR",
        description: "باقة Starter",
        callback_url: &callback,
        success_url: &page,
        back_url: &page,
        expired_at: "2026-11-21T09:00:00.123456Z".parse().unwrap(),
        metadata: BTreeMap::from([("checkout_id", "0198")]),
    };
    let invoice = moyasar(stub.url.clone()).create_invoice(&new).await.unwrap();
    assert_eq!(invoice.id, INVOICE_ID);
    assert_eq!(invoice.status, "initiated");
    assert_eq!(invoice.url.unwrap().host_str(), Some("checkout.moyasar.com"));

    let (line, headers, body) = only_request(&stub);
    assert_eq!(line, "POST /v1/invoices HTTP/1.1");
    // The key is the user name, the password is empty: base64 of `sk_test_a-key-of-nobody:`.
    let credentials = "authorization: Basic c2tfdGVzdF9hLWtleS1vZi1ub2JvZHk6".to_owned();
    assert!(headers.contains(&credentials), "{headers:?}");
    let name = concat!("user-agent: dealix-api/", env!("CARGO_PKG_VERSION")).to_owned();
    assert!(headers.contains(&name), "{headers:?}");
    assert!(headers.contains(&"content-type: application/json".to_owned()), "{headers:?}");
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({
            "amount": 99_000,
            "currency": "SAR",
            "description": "باقة Starter",
            "callback_url": "https://api.dealix.me/paid?token=1",
            "success_url": "https://api.dealix.me/checkout/0198",
            "back_url": "https://api.dealix.me/checkout/0198",
            "expired_at": "2026-11-21T09:00:00.123Z",
            "metadata": { "checkout_id": "0198" },
        })
    );
}

#[tokio::test]
async fn fetching_an_invoice_shows_every_attempt_to_pay_it() {
    let stub = Stub::json("200 OK", PAID);
    let invoice = fetch_from(&stub).await.unwrap();
    let attempts: Vec<_> = invoice
        .payments
        .iter()
        .map(|payment| (payment.status.as_str(), payment.message()))
        .collect();
    assert_eq!(attempts, [("failed", Some("INSUFFICIENT FUNDS")), ("paid", Some("APPROVED"))]);
    assert_eq!(only_request(&stub).0, format!("GET /v1/invoices/{INVOICE_ID} HTTP/1.1"));
}

#[tokio::test]
async fn invoices_are_found_by_their_metadata() {
    let stub = Stub::json("200 OK", LIST);
    let moyasar = moyasar(stub.url.clone());
    let found = moyasar.list_invoices_by_metadata("checkout_id", "a b&c").await.unwrap();
    assert!(found.is_complete);
    let found = found.invoices;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].payment_id.as_deref(), Some("b61e6ba5-3682-4dd6-b804-69b84b2d451c"));
    let line = only_request(&stub).0;
    assert_eq!(line, "GET /v1/invoices?metadata%5Bcheckout_id%5D=a+b%26c HTTP/1.1");
}

#[tokio::test]
async fn cancelling_an_invoice_is_a_put_without_a_body() {
    let stub = Stub::json("200 OK", &INVOICE.replace("initiated", "canceled"));
    let invoice = moyasar(stub.url.clone()).cancel_invoice(INVOICE_ID).await.unwrap();
    assert_eq!(invoice.status, "canceled");
    let (line, headers, body) = only_request(&stub);
    assert!(headers.contains(&"content-length: 0".to_owned()), "{headers:?}");
    assert_eq!(line, format!("PUT /v1/invoices/{INVOICE_ID}/cancel HTTP/1.1"));
    assert_eq!(body, "");
}

#[tokio::test]
async fn fetching_a_payment_names_it_as_one_segment_whatever_it_is_called() {
    let stub = Stub::json("200 OK", r#"{"id":"a/b?c#d"}"#);
    let payment = moyasar(stub.url.clone()).fetch_payment("a/b?c#d").await.unwrap();
    assert_eq!(payment.id, "a/b?c#d");
    assert_eq!(only_request(&stub).0, "GET /v1/payments/a%2Fb%3Fc%23d HTTP/1.1");
}

#[tokio::test]
async fn the_probe_reads_the_list_of_events_and_nothing_that_costs() {
    let stub = Stub::json("200 OK", r#"{"events":["payment_paid"]}"#);
    moyasar(stub.url.clone()).probe().await.unwrap();
    assert_eq!(only_request(&stub).0, "GET /v1/webhooks/available_events HTTP/1.1");

    let stub = Stub::json("401 Unauthorized", "{}");
    let error = moyasar(stub.url.clone()).probe().await.unwrap_err();
    assert_eq!(error.class(), "auth");
}

#[tokio::test]
async fn an_invoice_is_made_found_cancelled_and_seen_to_be_cancelled() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let mut config = config(sandbox.moyasar_url());
    config.secret_key = Some(sandbox.secret_key().into());
    let clock = Clock::default();
    let breaker = Breakers::new(clock.clone(), false).add(CLIENT, config.breaker);
    let moyasar = Moyasar::new(&config, breaker, clock.clone()).unwrap().unwrap();

    let page = "https://dealix.me/".parse().unwrap();
    let new = NewInvoice {
        amount: 99_000,
        currency: "SAR",
        description: "Starter",
        callback_url: &page,
        success_url: &page,
        back_url: &page,
        expired_at: clock.now() + Duration::from_hours(24),
        metadata: BTreeMap::from([("checkout_id", "c-1")]),
    };
    let made = moyasar.create_invoice(&new).await.unwrap();
    assert_eq!((made.status.as_str(), made.amount), ("initiated", Some(99_000)));
    assert_eq!(made.expired_at.unwrap().timestamp_millis(), new.expired_at.timestamp_millis());

    let found = moyasar.list_invoices_by_metadata("checkout_id", "c-1").await.unwrap().invoices;
    assert_eq!(found.iter().map(|invoice| &invoice.id).collect::<Vec<_>>(), [&made.id]);
    assert_eq!(found[0].metadata, json!({ "checkout_id": "c-1" }));
    let none = moyasar.list_invoices_by_metadata("checkout_id", "c-2").await.unwrap();
    assert!(none.is_complete && none.invoices.is_empty());

    assert_eq!(moyasar.cancel_invoice(&made.id).await.unwrap().status, "canceled");
    let again = moyasar.cancel_invoice(&made.id).await.unwrap_err();
    assert!(again.is_answer() && !again.is_uncertain(), "{again}");
    assert_eq!(moyasar.fetch_invoice(&made.id).await.unwrap().status, "canceled");
    let unknown = moyasar.fetch_payment("5c0c7b0e-0000-4000-8000-000000000000").await.unwrap_err();
    assert_eq!(unknown.class(), "refused");
    moyasar.probe().await.unwrap();
}

/// What an answer is taken for: its class, whether the service is failing, whether the call may
/// have had its effect.
async fn taken_for(reply: Reply) -> (&'static str, bool, bool) {
    let error = fetch_from(&Stub::new(vec![reply])).await.unwrap_err();
    (error.class(), error.is_outage(), error.is_uncertain())
}

#[tokio::test]
async fn refusals_are_no_outage_and_certain() {
    for status in ["400 Bad Request", "404 Not Found", "405 Method Not Allowed", "422 No"] {
        assert_eq!(taken_for(answer(status, "", "{}")).await, ("refused", false, false));
    }
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let page = "<html>blocked</html>";
        assert_eq!(taken_for(answer(status, "", page)).await, ("auth", false, false));
    }
}

#[tokio::test]
async fn server_errors_are_outages_and_uncertain() {
    for status in ["500 Internal Server Error", "502 Bad Gateway", "503 Unavailable", "529 Busy"] {
        assert_eq!(taken_for(answer(status, "", "{}")).await, ("server_error", true, true));
    }
}

#[tokio::test]
async fn too_many_requests_is_an_outage_and_certain() {
    let limited = answer("429 Too Many Requests", "", "{}");
    assert_eq!(taken_for(limited).await, ("rate_limited", true, false));
}

#[tokio::test]
async fn whoever_gave_up_waiting_for_a_request_may_have_passed_it_on() {
    let late = answer("408 Request Timeout", "", "{}");
    assert_eq!(taken_for(late).await, ("refused", true, true));
}

#[tokio::test]
async fn an_answer_about_another_object_than_was_asked_for_is_none() {
    let other = r#"{"id":"another","status":"paid"}"#;
    let stub = Stub::new(vec![answer("200 OK", "", other), answer("200 OK", "", other)]);
    let moyasar = moyasar(stub.url.clone());
    for error in [
        moyasar.fetch_invoice("asked").await.unwrap_err(),
        moyasar.fetch_payment("asked").await.unwrap_err(),
    ] {
        let is_other = matches!(error, ClientError::Unreadable { flaw: Flaw::NotAsked, .. });
        assert!(is_other && error.is_refusal() && !error.is_outage(), "{error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let stub = Stub::new(vec![
        answer("302 Found", "location: /v1/elsewhere\r\n", ""),
        answer("200 OK", "", INVOICE),
    ]);
    let error = fetch_from(&stub).await.unwrap_err();
    assert_eq!((error.class(), error.is_outage()), ("refused", false));
    assert_eq!(stub.requests().len(), 1);
}

#[tokio::test]
async fn where_nobody_listens_nothing_can_have_happened() {
    let error = moyasar(Stub::nobody()).fetch_invoice(INVOICE_ID).await.unwrap_err();
    assert_eq!(
        (error.class(), error.is_outage(), error.is_uncertain()),
        ("unreachable", true, false)
    );
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_it_uncertain() {
    assert_eq!(taken_for(Reply::Reset).await, ("unreachable", true, true));
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\":".to_vec();
    assert_eq!(taken_for(Reply::Bytes(half)).await, ("unreachable", true, true));
    let noise = b"\x16\x03\x01 nothing of HTTP\r\n\r\n".to_vec();
    assert_eq!(taken_for(Reply::Bytes(noise)).await, ("unreachable", true, true));
}

#[tokio::test]
async fn silence_ends_at_the_deadline_be_it_before_the_answer_or_within() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\":".to_vec();
    for sent in [Vec::new(), head] {
        let stub = Stub::new(vec![Reply::Stall(sent)]);
        let http = http_client(Duration::from_millis(400)).unwrap();
        let impatient = Moyasar { http, ..moyasar(stub.url.clone()) };
        let error = impatient.fetch_invoice(INVOICE_ID).await.unwrap_err();
        assert_eq!(
            (error.class(), error.is_outage(), error.is_uncertain()),
            ("timeout", true, true)
        );
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_uncertain_and_an_outage_if_it_is_no_json() {
    for (body, is_outage) in [
        ("", true),
        ("<html>", true),
        ("{\"id\":", true),
        ("[]", false),
        ("{}", false),
        ("{\"id\":null}", false),
        ("{\"id\":7}", false),
    ] {
        let taken = taken_for(answer("200 OK", "", body)).await;
        assert_eq!(taken, ("unreadable", is_outage, true), "{body}");
    }
}

#[tokio::test]
async fn an_answer_may_have_a_mebibyte_and_not_one_byte_more() {
    const MEBIBYTE: usize = 1024 * 1024;
    let padded = |length: usize| format!("{INVOICE}{}", " ".repeat(length - INVOICE.len()));
    let largest = Stub::json("200 OK", &padded(MEBIBYTE));
    assert_eq!(fetch_from(&largest).await.unwrap().id, INVOICE_ID);
    let larger = Stub::json("200 OK", &padded(MEBIBYTE + 1));
    let error = fetch_from(&larger).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreadable { flaw: Flaw::TooLarge, .. }), "{error:?}");
}

#[tokio::test]
async fn the_breaker_stands_before_every_call() {
    let outage = || answer("503 Unavailable", "", "{}");
    let stub = Stub::new((0..6).map(|_| outage()).collect());
    let moyasar = moyasar(stub.url.clone());
    let page = "https://dealix.me/".parse().unwrap();
    let new = NewInvoice {
        amount: 100,
        currency: "SAR",
        description: "",
        callback_url: &page,
        success_url: &page,
        back_url: &page,
        expired_at: "2026-11-21T09:00:00Z".parse().unwrap(),
        metadata: BTreeMap::new(),
    };
    assert!(moyasar.create_invoice(&new).await.is_err());
    assert!(moyasar.fetch_invoice("1").await.is_err());
    assert!(moyasar.fetch_payment("1").await.is_err());
    assert!(moyasar.list_invoices_by_metadata("a", "b").await.is_err());
    assert!(moyasar.probe().await.is_err());
    assert_eq!(moyasar.breaker.snapshot().state, State::Open);
    let rejected = moyasar.cancel_invoice("1").await.unwrap_err();
    assert_eq!((rejected.class(), rejected.is_outage()), ("breaker_open", false));
    assert_eq!(rejected.retry_after(), Some(Duration::from_mins(1)));
    assert_eq!(stub.requests().len(), 5);
}

#[tokio::test]
async fn the_retry_after_of_an_outage_reaches_the_breaker() {
    let limited = || answer("429 Too Many Requests", "retry-after: 120\r\n", "");
    let stub = Stub::new((0..5).map(|_| limited()).collect());
    let moyasar = moyasar(stub.url.clone());
    for _ in 0..5 {
        let error = moyasar.probe().await.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_mins(2)));
    }
    let rejected = moyasar.probe().await.unwrap_err();
    assert_eq!(rejected.retry_after(), Some(Duration::from_mins(2)));
}

/// All that an error and its causes would put into a log.
fn all_words(error: &dyn Error) -> String {
    let cause = error.source().map(all_words).unwrap_or_default();
    format!("{error} {error:?} {cause}")
}

#[tokio::test]
async fn an_error_quotes_neither_the_answer_nor_the_key_nor_the_url() {
    let told = r#"{"id":{"name":"a-card-holder"}}"#;
    let half = format!("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{told}").into_bytes();
    let replies = [
        answer("400 a-card-holder", "", told),
        answer("500 Oh", "", told),
        answer("200 OK", "", told),
        answer("200 OK", "", "a-card-holder"),
        answer("200 OK", "", r#"{"id":"x","payments":["a-card-holder"]}"#),
        Reply::Bytes(half),
        Reply::Reset,
    ];
    for reply in replies {
        let error = fetch_from(&Stub::new(vec![reply])).await.unwrap_err();
        let words = all_words(&error);
        for secret in ["a-card-holder", KEY, "c2tfdGVzdF9", INVOICE_ID] {
            assert!(!words.contains(secret), "{words}");
        }
    }
}

#[tokio::test]
async fn the_root_of_the_api_may_end_in_a_slash_or_not() {
    let stub = Stub::json("200 OK", INVOICE);
    let root = stub.url.as_str().trim_end_matches('/').parse().unwrap();
    moyasar(root).fetch_invoice(INVOICE_ID).await.unwrap();
    let line = format!("GET /v1/invoices/{INVOICE_ID} HTTP/1.1");
    assert_eq!(only_request(&stub).0, line);
}

#[test]
fn without_a_key_there_is_no_client() {
    let mut config = config("https://api.moyasar.com/v1/".parse().unwrap());
    config.secret_key = None;
    let clock = Clock::default();
    let breaker = Breakers::new(clock.clone(), false).add(CLIENT, config.breaker);
    assert!(Moyasar::new(&config, breaker, clock).unwrap().is_none());
}

#[test]
fn the_key_decides_the_mode() {
    let mut moyasar = moyasar("https://api.moyasar.com/v1/".parse().unwrap());
    assert_eq!(moyasar.mode(), Mode::Test);
    moyasar.secret_key = "sk_live_a-key-of-nobody".into();
    assert_eq!(moyasar.mode(), Mode::Live);
}

#[test]
fn the_client_does_not_show_its_key() {
    let moyasar = moyasar("https://api.moyasar.com/v1/".parse().unwrap());
    assert!(!format!("{moyasar:?}").contains(KEY));
}
