//! Payments: fetching, listing, and what may be refunded, captured and voided.

use std::time::Duration;

use dealix_sandbox::{CardFlow, cards};
use serde_json::{Value, json};

use crate::harness::{Asked, keys};

async fn paid(asked: &Asked) -> String {
    let id = asked.invoice_id().await;
    asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap().id
}

async fn authorized(asked: &Asked) -> String {
    let id = asked.invoice_id().await;
    let card = cards::VISA_APPROVED.with_flow(CardFlow::Authorize);
    asked.sandbox.pay(&id, card).await.unwrap().id
}

#[tokio::test]
async fn a_paid_payment_has_the_documented_fields() {
    let asked = Asked::start().await;
    let invoice_id = asked.invoice_id().await;
    let id = asked.sandbox.pay(&invoice_id, cards::MADA_APPROVED).await.unwrap().id;
    let (status, payment) = asked.get(&format!("v1/payments/{id}")).await;
    assert_eq!(status, 200);
    assert_eq!(
        keys(&payment),
        [
            "amount",
            "amount_format",
            "callback_url",
            "captured",
            "captured_at",
            "captured_format",
            "created_at",
            "currency",
            "description",
            "fee",
            "fee_format",
            "id",
            "invoice_id",
            "ip",
            "metadata",
            "refunded",
            "refunded_at",
            "refunded_format",
            "source",
            "status",
            "updated_at",
            "voided_at",
        ]
    );
    assert_eq!(
        keys(&payment["source"]),
        [
            "authorization_code",
            "company",
            "gateway_id",
            "issuer_card_category",
            "issuer_card_type",
            "issuer_country",
            "issuer_name",
            "message",
            "name",
            "number",
            "reference_number",
            "response_code",
            "token",
            "transaction_url",
            "type",
        ]
    );
    assert_eq!(payment["status"], "paid");
    assert_eq!((&payment["captured"], &payment["captured_at"]), (&json!(0), &Value::Null));
    assert_eq!(payment["invoice_id"], json!(invoice_id));
    assert_eq!(payment["source"]["number"], "4201-32XX-XXXX-1010");
    let (_, invoice) = asked.get(&format!("v1/invoices/{invoice_id}")).await;
    assert_eq!(invoice["status"], "paid");
    assert_eq!(invoice["payments"], json!([payment]));
    assert_eq!(asked.get("v1/payments/none").await.0, 404);
}

#[tokio::test]
async fn a_list_of_payments_has_its_filters() {
    let asked = Asked::start().await;
    let first = paid(&asked).await;
    asked.sandbox.advance(Duration::from_mins(1));
    let invoice_id = asked.invoice_id().await;
    let second = asked.sandbox.pay(&invoice_id, cards::VISA_APPROVED).await.unwrap();
    asked.sandbox.advance(Duration::from_mins(1));
    asked.put(&format!("v1/payments/{first}"), json!({"metadata": {"k": "v"}})).await;
    let created = second.created_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let receipt = second.source.reference_number.unwrap();
    for (query, expected) in [
        (String::new(), vec![&second.id, &first]),
        (format!("id={first}"), vec![&first]),
        ("status=paid".to_owned(), vec![&second.id, &first]),
        ("status=failed".to_owned(), vec![]),
        (format!("created[lt]={created}"), vec![&first]),
        (format!("updated[gt]={created}"), vec![&first]),
        (format!("updated[lt]={created}&status=paid"), vec![]),
        ("card_last_digits=1111".to_owned(), vec![&second.id]),
        (format!("receipt_no={receipt}"), vec![&second.id]),
        ("metadata[k]=v".to_owned(), vec![&first]),
    ] {
        let (status, found) = asked.get(&format!("v1/payments?{query}")).await;
        assert_eq!(status, 200, "{query}");
        let ids: Vec<&Value> =
            found["payments"].as_array().unwrap().iter().map(|payment| &payment["id"]).collect();
        assert_eq!(json!(ids), json!(expected), "{query}");
    }
}

#[tokio::test]
async fn refunds_add_up_to_the_whole_and_no_further() {
    let asked = Asked::start().await;
    let id = paid(&asked).await;
    let refund = format!("v1/payments/{id}/refund");
    let (status, part) = asked.post(&refund, json!({"amount": 4_000})).await;
    assert_eq!((status, &part["refunded"]), (200, &json!(4_000)));
    assert_eq!(part["refunded_format"], "40.00 SAR");
    assert_eq!(part["status"], "refunded");
    let invoice = format!("v1/invoices/{}", part["invoice_id"].as_str().unwrap());
    assert_eq!(asked.get(&invoice).await.1["status"], "paid");
    for amount in [json!(7_501), json!(0), json!(-1), json!("100")] {
        let (status, body) = asked.post(&refund, json!({"amount": amount})).await;
        assert_eq!((status, keys(&body["errors"])), (400, vec!["amount"]), "{amount}");
    }
    let (status, rest) = asked.post(&refund, json!({})).await;
    assert_eq!((status, &rest["refunded"]), (200, &json!(11_500)));
    assert_eq!(asked.get(&invoice).await.1["status"], "refunded");
    assert_eq!(asked.post(&refund, json!({})).await.0, 400);
}

#[tokio::test]
async fn an_authorised_payment_is_captured_once_and_refunded_up_to_that() {
    let asked = Asked::start().await;
    let id = authorized(&asked).await;
    let capture = format!("v1/payments/{id}/capture");
    assert_eq!(asked.post(&format!("v1/payments/{id}/refund"), json!({})).await.0, 400);
    assert_eq!(asked.post(&capture, json!({"amount": 11_501})).await.0, 400);
    let (status, captured) = asked.post(&capture, json!({"amount": 8_000})).await;
    assert_eq!(status, 200);
    assert_eq!((&captured["status"], &captured["captured"]), (&json!("captured"), &json!(8_000)));
    assert_eq!(asked.post(&capture, json!({})).await.0, 400);
    let refund = format!("v1/payments/{id}/refund");
    assert_eq!(asked.post(&refund, json!({"amount": 8_001})).await.0, 400);
    assert_eq!(asked.post(&refund, json!({"amount": 8_000})).await.0, 200);
}

#[tokio::test]
async fn a_void_is_possible_for_two_hours_or_while_money_is_only_held() {
    let asked = Asked::start().await;
    let (soon, late, held) = (paid(&asked).await, paid(&asked).await, authorized(&asked).await);
    let (status, voided) = asked.post(&format!("v1/payments/{soon}/void"), json!({})).await;
    assert_eq!((status, &voided["status"]), (200, &json!("voided")));
    assert!(voided["voided_at"].is_string());
    asked.sandbox.advance(Duration::from_hours(3));
    assert_eq!(asked.post(&format!("v1/payments/{late}/void"), json!({})).await.0, 400);
    assert_eq!(asked.post(&format!("v1/payments/{held}/void"), json!({})).await.0, 200);
    assert_eq!(asked.post(&format!("v1/payments/{held}/void"), json!({})).await.0, 400);
}

#[tokio::test]
async fn money_can_arrive_after_the_invoice_was_canceled() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    let card = cards::VISA_APPROVED.with_flow(CardFlow::Begin);
    let begun = asked.sandbox.pay(&id, card).await.unwrap();
    assert_eq!(begun.status.as_str(), "initiated");
    assert!(begun.source.transaction_url.is_some());
    asked.put(&format!("v1/invoices/{id}/cancel"), json!({})).await;
    asked.sandbox.set_payment_status(&begun.id, "paid").unwrap();
    let (_, payment) = asked.get(&format!("v1/payments/{}", begun.id)).await;
    assert_eq!(
        (&payment["status"], &payment["source"]["response_code"]),
        (&json!("paid"), &json!("00"))
    );
}
