//! Faults on requests, each over a real connection.

use std::time::Duration;

use dealix_sandbox::{Fault, Operation, Service, Trouble, Twist, cards};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::harness::{Asked, answer, order};

/// Long enough for an answer that comes, and all that is waited for one that does not.
const PATIENCE: Duration = Duration::from_millis(250);

async fn create_and_lose_patience(asked: &Asked) {
    let request = asked.request(Method::POST, "v1/invoices").json(&order(json!({})));
    let sent = request.timeout(PATIENCE).send().await;
    assert!(sent.unwrap_err().is_timeout());
}

#[tokio::test]
async fn a_hang_before_the_effect_leaves_nothing_and_after_it_an_invoice() {
    let asked = Asked::start().await;
    asked.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::Hang).once());
    create_and_lose_patience(&asked).await;
    assert_eq!(asked.sandbox.ledger().invoices().len(), 0);
    asked.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Hang).once());
    create_and_lose_patience(&asked).await;
    assert_eq!(asked.sandbox.ledger().invoices().len(), 1);
    asked.invoice_id().await;
    assert_eq!(asked.sandbox.ledger().requests("create_invoice"), 3);
    assert_eq!(asked.sandbox.ledger().requests(Operation::ListInvoices), 0);
}

#[tokio::test]
async fn a_status_has_the_documented_body() {
    let asked = Asked::start().await;
    for (code, kind) in [
        (401, "authentication_error"),
        (404, "record_not_found"),
        (405, "account_inactive_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
    ] {
        asked.sandbox.fault(Fault::before(Service::Moyasar, Trouble::status(code)).once());
        let (status, body) = asked.get("v1/invoices").await;
        assert_eq!((status, &body["type"]), (code, &json!(kind)));
        assert_eq!(body["errors"], Value::Null);
    }
    assert_eq!(asked.get("v1/invoices").await.0, 200);
}

#[tokio::test]
async fn too_many_requests_may_say_when_to_come_back() {
    let asked = Asked::start().await;
    let trouble = Trouble::Status { code: 429, retry_after: Some(7) };
    asked.sandbox.fault(Fault::before(Operation::FetchInvoice, trouble));
    let response = asked.request(Method::GET, "v1/invoices/x").send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
}

#[tokio::test]
async fn a_failed_answer_after_the_effect_still_has_its_effect() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    let payment = asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    asked.sandbox.fault(Fault::after(Operation::RefundPayment, Trouble::status(503)).once());
    let path = format!("v1/payments/{}", payment.id);
    assert_eq!(asked.post(&format!("{path}/refund"), json!({"amount": 500})).await.0, 503);
    assert_eq!(asked.get(&path).await.1["refunded"], 500);
}

#[tokio::test]
async fn a_reset_ends_the_connection_without_an_answer() {
    let asked = Asked::start().await;
    asked.sandbox.fault(Fault::after(Service::Posthog, Trouble::Reset).once());
    let base = asked.sandbox.base_url();
    let mut stream =
        TcpStream::connect((base.host_str().unwrap(), base.port().unwrap())).await.unwrap();
    stream.write_all(b"GET /_health HTTP/1.1\r\nhost: sandbox\r\n\r\n").await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(asked.page("_health").await, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_malformed_answer_is_a_200_whose_json_breaks_off() {
    let asked = Asked::start().await;
    asked.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Malformed).once());
    let request = asked.request(Method::POST, "v1/invoices").json(&order(json!({})));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(serde_json::from_str::<Value>(&response.text().await.unwrap()).is_err());
    assert_eq!(asked.sandbox.ledger().invoices().len(), 1);
}

#[tokio::test]
async fn latencies_add_up_and_the_answer_comes() {
    let asked = Asked::start().await;
    let latency = Trouble::Latency(Duration::from_millis(30));
    asked.sandbox.fault(Fault::before(Operation::ListInvoices, latency.clone()));
    asked.sandbox.fault(Fault::after(Operation::ListInvoices, latency));
    let start = Instant::now();
    assert_eq!(asked.get("v1/invoices").await.0, 200);
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_fault_lasts_until_it_is_cleared() {
    let asked = Asked::start().await;
    asked.sandbox.fault(Fault::before(Service::Moyasar, Trouble::status(500)));
    for _ in 0..3 {
        assert_eq!(asked.get("v1/invoices").await.0, 500);
    }
    assert_eq!(asked.page("_health").await.0, 200);
    asked.sandbox.clear_faults();
    assert_eq!(asked.get("v1/invoices").await.0, 200);
}

#[tokio::test]
async fn a_frozen_sandbox_accepts_and_answers_once_it_thaws() {
    let asked = Asked::start().await;
    asked.sandbox.freeze();
    let url = asked.sandbox.moyasar_url().join("invoices").unwrap();
    let request = asked.http.get(url).basic_auth(asked.sandbox.secret_key(), Some(""));
    let mut waiting = tokio::spawn(request.send());
    assert!(timeout(PATIENCE, &mut waiting).await.is_err());
    let (status, faults) = asked.get("_sandbox/faults").await;
    assert_eq!((status, &faults["is_frozen"]), (200, &json!(true)));
    asked.sandbox.thaw();
    assert_eq!(answer(waiting.await.unwrap().unwrap()).await.0, 200);
}

#[tokio::test]
async fn a_late_payment_is_taken_by_a_canceled_and_by_a_paid_invoice() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    asked.put(&format!("v1/invoices/{id}/cancel"), json!({})).await;
    assert!(asked.sandbox.pay(&id, cards::MADA_APPROVED).await.is_err());
    asked.sandbox.fault(Fault::payment(Twist::Late).times(2));
    asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    asked.sandbox.pay(&id, cards::VISA_APPROVED).await.unwrap();
    let (_, invoice) = asked.get(&format!("v1/invoices/{id}")).await;
    let paid = invoice["payments"].as_array().unwrap().iter();
    assert_eq!(paid.filter(|payment| payment["status"] == "paid").count(), 2);
    assert!(asked.sandbox.pay(&id, cards::MADA_APPROVED).await.is_err());
}

#[tokio::test]
async fn a_payment_can_charge_something_else_than_the_invoice() {
    let asked = Asked::start().await;
    let twist = Twist::Charge { amount: Some(9_775), currency: Some("USD".to_owned()) };
    asked.sandbox.fault(Fault::payment(twist).once());
    let id = asked.invoice_id().await;
    let payment = asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    let (_, fetched) = asked.get(&format!("v1/payments/{}", payment.id)).await;
    assert_eq!((&fetched["amount"], &fetched["currency"]), (&json!(9_775), &json!("USD")));
    assert_eq!(fetched["amount_format"], "97.75 USD");
}
