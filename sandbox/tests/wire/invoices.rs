//! Invoices: creating, finding, listing, updating, canceling, expiring, and who may.

use std::time::Duration;

use dealix_sandbox::cards;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Asked, answer, keys, order, text};

const INVOICE_FIELDS: [&str; 16] = [
    "amount",
    "amount_format",
    "back_url",
    "callback_url",
    "created_at",
    "currency",
    "description",
    "expired_at",
    "id",
    "logo_url",
    "metadata",
    "payments",
    "status",
    "success_url",
    "updated_at",
    "url",
];

#[tokio::test]
async fn a_new_invoice_has_the_documented_fields_and_a_page() {
    let asked = Asked::start().await;
    let request = json!({
        "callback_url": "https://api.shop.example.com/callback?order=1",
        "success_url": "https://shop.example.com",
        "expired_at": "2099-11-18T10:10:00.000Z",
        "metadata": {"order_id": "o-1", "attempt": 1},
    });
    let invoice = asked.invoice(request).await;
    assert_eq!(keys(&invoice), INVOICE_FIELDS);
    assert_eq!(invoice["status"], "initiated");
    assert_eq!(invoice["amount_format"], "115.00 SAR");
    assert_eq!(invoice["callback_url"], "https://api.shop.example.com/callback?order=1");
    assert_eq!(invoice["success_url"], "https://shop.example.com");
    assert_eq!(invoice["back_url"], Value::Null);
    assert_eq!(invoice["expired_at"], "2099-11-18T10:10:00.000Z");
    assert_eq!(invoice["metadata"], json!({"order_id": "o-1", "attempt": 1}));
    assert_eq!(invoice["payments"], json!([]));
    let created = text(&invoice["created_at"]);
    assert_eq!((created.len(), created.ends_with('Z')), (24, true), "{created}");
    let page = format!("{}invoices/{}?lang=en", asked.sandbox.base_url(), text(&invoice["id"]));
    assert_eq!(invoice["url"], page);
    let (status, fetched) = asked.get(&format!("v1/invoices/{}", text(&invoice["id"]))).await;
    assert_eq!((status, fetched), (200, invoice));
}

#[tokio::test]
async fn an_expiry_with_an_offset_or_without_a_time_is_read_as_utc() {
    let asked = Asked::start().await;
    for (sent, stored) in [
        ("2099-11-18T13:10:00+03:00", "2099-11-18T10:10:00.000Z"),
        ("2099-11-18", "2099-11-18T00:00:00.000Z"),
    ] {
        let invoice = asked.invoice(json!({"expired_at": sent})).await;
        assert_eq!(invoice["expired_at"], stored);
    }
}

#[tokio::test]
async fn a_bad_field_is_named() {
    let asked = Asked::start().await;
    let many: serde_json::Map<String, Value> =
        (0..31).map(|key| (key.to_string(), json!("v"))).collect();
    for (field, value) in [
        ("amount", json!(99)),
        ("amount", json!("100")),
        ("amount", json!(100.5)),
        ("currency", json!("SARR")),
        ("description", json!(" ")),
        ("callback_url", json!("not a url")),
        ("success_url", json!("ftp://shop.example.com/")),
        ("back_url", json!(7)),
        ("expired_at", json!("2020-01-01T00:00:00Z")),
        ("expired_at", json!("tomorrow")),
        ("metadata", json!("text")),
        ("metadata", json!({"nested": {"a": 1}})),
        ("metadata", json!({ "k".repeat(41): "v" })),
        ("metadata", json!({"key": "v".repeat(501)})),
        ("metadata", Value::Object(many)),
    ] {
        let (status, body) = asked.post("v1/invoices", order(json!({field: value}))).await;
        assert_eq!(status, 400, "{field}: {value}");
        assert_eq!(body["type"], "validation_error");
        assert_eq!(body["message"], "Validation Failed");
        assert_eq!(keys(&body["errors"]), [field], "{body}");
        assert!(body["errors"][field][0].is_string(), "{body}");
    }
    assert_eq!(asked.sandbox.counts().invoices, 0);
    let (_, body) = asked.post("v1/invoices", order(json!({"amount": 99}))).await;
    assert_eq!(body["errors"]["amount"][0], "The value must be greater than or equal to 100.");
    asked.invoice(json!({"amount": 100})).await;
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused() {
    let asked = Asked::start().await;
    for (media_type, body) in
        [("application/json", "{"), ("application/json", "[]"), ("text/plain", "{}")]
    {
        let request = asked.request(Method::POST, "v1/invoices").header("content-type", media_type);
        let (status, body) = answer(request.body(body).send().await.unwrap()).await;
        assert_eq!(status, 400);
        assert_eq!(body["type"], "invalid_request_error");
        assert_eq!(body["errors"], Value::Null);
    }
}

#[tokio::test]
async fn only_the_secret_key_with_an_empty_password_opens_the_api() {
    let asked = Asked::start().await;
    let url = asked.sandbox.moyasar_url().join("invoices").unwrap();
    let secret = asked.sandbox.secret_key();
    for request in [
        asked.http.get(url.clone()),
        asked.http.get(url.clone()).basic_auth("sk_test_another", Some("")),
        asked.http.get(url.clone()).basic_auth(secret, Some("password")),
        asked.http.get(url.clone()).bearer_auth(secret),
    ] {
        let (status, body) = answer(request.send().await.unwrap()).await;
        let expected = json!({
            "type": "authentication_error",
            "message": "Invalid authorization credentials",
            "errors": null,
        });
        assert_eq!((status, body), (401, expected));
    }
    let publishable = dealix_sandbox::Options::default().publishable_key;
    let request = asked.http.get(url.clone()).basic_auth(publishable, Some(""));
    assert_eq!(request.send().await.unwrap().status(), 403);
}

#[tokio::test]
async fn a_client_without_a_user_agent_meets_the_proxy() {
    let asked = Asked::start().await;
    let anonymous = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = asked.sandbox.moyasar_url().join("invoices").unwrap();
    let request = anonymous.get(url).basic_auth(asked.sandbox.secret_key(), Some(""));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
}

#[tokio::test]
async fn every_answer_has_its_own_request_id() {
    let asked = Asked::start().await;
    let mut ids = Vec::new();
    for path in ["v1/invoices", "v1/invoices/none"] {
        let response = asked.request(Method::GET, path).send().await.unwrap();
        ids.push(response.headers()["x-request-id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn an_unknown_invoice_is_not_found() {
    let asked = Asked::start().await;
    let expected =
        json!({"type": "record_not_found", "message": "Object not found", "errors": null});
    assert_eq!(asked.get("v1/invoices/none").await, (404, expected.clone()));
    assert_eq!(asked.put("v1/invoices/none/cancel", json!({})).await, (404, expected.clone()));
    assert_eq!(
        asked.put("v1/invoices/none", json!({"metadata": {"a": "b"}})).await,
        (404, expected)
    );
}

#[tokio::test]
async fn a_list_finds_by_metadata_at_once_and_items_have_the_older_shape() {
    let asked = Asked::start().await;
    for order_id in ["o-1", "o-2", "o-2"] {
        asked.invoice(json!({"metadata": {"order_id": order_id, "shop": "s"}})).await;
    }
    asked.invoice(json!({"metadata": {"order_id": 7}})).await;
    let (status, found) = asked.get("v1/invoices?metadata[order_id]=o-1").await;
    assert_eq!(status, 200);
    assert_eq!(found["invoices"].as_array().unwrap().len(), 1);
    let item = &found["invoices"][0];
    let mut fields: Vec<&str> = INVOICE_FIELDS
        .into_iter()
        .filter(|field| !["payments", "logo_url"].contains(field))
        .chain(["payment_id", "paid_at"])
        .collect();
    fields.sort_unstable();
    assert_eq!(keys(item), fields);
    assert_eq!((&item["payment_id"], &item["paid_at"]), (&Value::Null, &Value::Null));
    for (query, count) in [
        ("metadata%5Border_id%5D=o-2", 2),
        ("metadata[order_id]=o-2&metadata[shop]=s", 2),
        ("metadata[order_id]=o-2&metadata[shop]=other", 0),
        ("metadata[order_id]=7", 1),
        ("metadata[order_id]=none", 0),
    ] {
        let (_, found) = asked.get(&format!("v1/invoices?{query}")).await;
        assert_eq!(found["meta"]["total_count"], count, "{query}");
    }
}

#[tokio::test]
async fn a_list_item_says_which_payment_paid_it() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    asked.sandbox.pay(&id, cards::MADA_LOST).await.unwrap();
    let payment = asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    let (_, found) = asked.get(&format!("v1/invoices?id={id}&status=paid")).await;
    assert_eq!(found["invoices"][0]["payment_id"], json!(payment.id));
    assert!(found["invoices"][0]["paid_at"].is_string());
}

#[tokio::test]
async fn pages_have_forty_items_newest_first() {
    let asked = Asked::start().await;
    for number in 0..81 {
        asked.invoice(json!({"description": number.to_string()})).await;
    }
    let (_, first) = asked.get("v1/invoices").await;
    assert_eq!(first["invoices"].as_array().unwrap().len(), 40);
    assert_eq!(first["invoices"][0]["description"], "80");
    assert_eq!(
        first["meta"],
        json!({"current_page": 1, "next_page": 2, "prev_page": null, "total_pages": 3, "total_count": 81})
    );
    let (_, last) = asked.get("v1/invoices?page=3").await;
    assert_eq!(last["invoices"][0]["description"], "0");
    assert_eq!(last["invoices"].as_array().unwrap().len(), 1);
    assert_eq!(last["meta"]["next_page"], Value::Null);
    assert_eq!(last["meta"]["prev_page"], 2);
}

#[tokio::test]
async fn a_list_filters_by_time_and_refuses_what_it_does_not_know() {
    let asked = Asked::start().await;
    let early = asked.invoice(json!({})).await;
    asked.sandbox.advance(Duration::from_mins(1));
    let late = asked.invoice(json!({})).await;
    for (query, expected) in [
        (format!("created[gt]={}", text(&early["created_at"])), &late),
        (format!("created[lt]={}", text(&late["created_at"])), &early),
    ] {
        let (_, found) = asked.get(&format!("v1/invoices?{query}")).await;
        assert_eq!(found["meta"]["total_count"], 1, "{query}");
        assert_eq!(found["invoices"][0]["id"], expected["id"], "{query}");
    }
    for query in ["created[gt]=yesterday", "page=0", "updated[gt]=2026-01-01T00:00:00Z", "per=3"] {
        assert_eq!(asked.get(&format!("v1/invoices?{query}")).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn an_update_merges_metadata_and_is_found_by_it() {
    let asked = Asked::start().await;
    let invoice = asked.invoice(json!({"metadata": {"a": "1", "b": "2"}})).await;
    let path = format!("v1/invoices/{}", text(&invoice["id"]));
    let (status, updated) = asked.put(&path, json!({"metadata": {"b": "", "c": "3"}})).await;
    assert_eq!((status, &updated["metadata"]), (200, &json!({"a": "1", "c": "3"})));
    assert_eq!(asked.get("v1/invoices?metadata[c]=3").await.1["meta"]["total_count"], 1);
    assert_eq!(asked.get("v1/invoices?metadata[b]=2").await.1["meta"]["total_count"], 0);
    let (_, emptied) = asked.put(&path, json!({"metadata": {}})).await;
    assert_eq!(emptied["metadata"], Value::Null);
    assert_eq!(asked.put(&path, json!({"amount": 100})).await.0, 400);
}

#[tokio::test]
async fn a_canceled_invoice_cannot_be_canceled_again() {
    let asked = Asked::start().await;
    let path = format!("v1/invoices/{}/cancel", asked.invoice_id().await);
    let (status, canceled) = asked.put(&path, json!({})).await;
    assert_eq!((status, &canceled["status"]), (200, &json!("canceled")));
    let expected = json!({
        "type": "invalid_request_error",
        "message": "Cancel failed. The Invoice is already canceled.",
        "errors": null,
    });
    assert_eq!(asked.put(&path, json!({})).await, (400, expected));
}

#[tokio::test]
async fn an_invoice_expires_by_the_clock_and_cannot_be_canceled_then() {
    let asked = Asked::start().await;
    asked.sandbox.set_now("2030-01-01T00:00:00Z".parse().unwrap());
    let invoice = asked.invoice(json!({"expired_at": "2030-01-01T01:00:00Z"})).await;
    let path = format!("v1/invoices/{}", text(&invoice["id"]));
    assert_eq!(asked.get(&path).await.1["status"], "initiated");
    asked.sandbox.advance(Duration::from_hours(1));
    assert_eq!(asked.get(&path).await.1["status"], "expired");
    assert_eq!(asked.get("v1/invoices?status=expired").await.1["meta"]["total_count"], 1);
    assert_eq!(asked.put(&format!("{path}/cancel"), json!({})).await.0, 400);
    let id = text(&invoice["id"]);
    let refusal = asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap_err();
    assert_eq!(refusal.to_string(), "the invoice is expired");
}
