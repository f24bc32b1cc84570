//! The control routes, as a script uses them.

use dealix_sandbox::{Operation, Options, Sandbox};
use serde_json::{Value, json};

use crate::harness::{Asked, Merchant, keys, text};

#[tokio::test]
async fn an_invoice_is_paid_captured_refunded_and_voided_without_a_browser() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    let pay = format!("_sandbox/invoices/{id}/pay");
    let (status, declined) =
        asked.post(&pay, json!({"card": "4201 3200 0031 1101", "name": "Sara Alharbi"})).await;
    assert_eq!((status, &declined["status"]), (200, &json!("failed")));
    assert_eq!(declined["source"]["name"], "Sara Alharbi");
    let (_, held) = asked.post(&pay, json!({"flow": "authorize"})).await;
    assert_eq!(held["status"], "authorized");
    let payment = format!("_sandbox/payments/{}", text(&held["id"]));
    let (_, captured) = asked.post(&format!("{payment}/capture"), json!({"amount": 9_000})).await;
    assert_eq!(captured["captured"], 9_000);
    let (_, refunded) = asked.post(&format!("{payment}/refund"), json!({"amount": 1_000})).await;
    assert_eq!(refunded["refunded"], 1_000);
    let (status, refusal) = asked.post(&format!("{payment}/void"), json!({})).await;
    assert_eq!((status, keys(&refusal)), (400, vec!["error"]));
    let (_, odd) = asked.post(&format!("{payment}/status"), json!({"status": "on_the_moon"})).await;
    assert_eq!(odd["status"], "on_the_moon");
}

#[tokio::test]
async fn every_operation_is_served_and_counted() {
    let asked = Asked::start().await;
    let requests = [
        ("GET", "v1/invoices v1/invoices/x v1/payments v1/payments/x v1/webhooks v1/webhooks/x"),
        ("GET", "v1/webhooks/available_events v1/webhooks/attempts v1/webhooks/attempts/x"),
        ("GET", "invoices/x _health"),
        ("POST", "v1/invoices v1/payments/x/refund v1/payments/x/capture v1/payments/x/void"),
        ("POST", "v1/webhooks v1/webhooks/x/verify invoices/x/pay batch/ api/1/envelope/ alerts"),
        ("PUT", "v1/invoices/x v1/invoices/x/cancel v1/payments/x"),
        ("DELETE", "v1/webhooks/x"),
    ];
    for (method, paths) in requests {
        for path in paths.split(' ') {
            let request = asked.request(method.parse().unwrap(), path);
            assert_ne!(request.send().await.unwrap().status(), 405, "{method} {path}");
        }
    }
    let ledger = asked.sandbox.ledger();
    for operation in Operation::ALL {
        assert_eq!(ledger.requests(operation), 1, "{operation:?}");
    }
    let (status, body) = asked.get("v1/unknown").await;
    assert_eq!((status, &body["type"]), (404, &json!("record_not_found")));
}

#[tokio::test]
async fn a_mistake_is_explained() {
    let asked = Asked::start().await;
    let id = asked.invoice_id().await;
    let pay = format!("_sandbox/invoices/{id}/pay");
    for (path, body, expected) in [
        ("_sandbox/invoices/none/pay", json!({}), 404),
        (pay.as_str(), json!({"card": "12"}), 422),
        (pay.as_str(), json!({"crad": "4201320111111010"}), 422),
        ("_sandbox/payments/none/refund", json!({}), 404),
        ("_sandbox/payments/none/status", json!({"status": "paid"}), 404),
        ("_sandbox/webhooks/forge", json!({"body": {}}), 502),
        ("_sandbox/faults", json!({"service": "stripe", "fault": {"hang": true}}), 422),
        (
            "_sandbox/faults",
            json!({"service": "moyasar", "operation": "create_invoce", "fault": {"hang": true}}),
            422,
        ),
        (
            "_sandbox/faults",
            json!({"service": "sentry", "operation": "create_invoice", "fault": {"hang": true}}),
            422,
        ),
        ("_sandbox/faults", json!({"service": "moyasar", "fault": {}}), 422),
        (
            "_sandbox/faults",
            json!({"service": "moyasar", "fault": {"hang": true, "reset": true}}),
            422,
        ),
        ("_sandbox/faults", json!({"service": "moyasar", "fault": {"drop": true}}), 422),
        ("_sandbox/faults", json!({"service": "webhook", "fault": {"hang": true}}), 422),
        ("_sandbox/faults", json!({"service": "moyasar", "fault": {"late_payment": true}}), 422),
        ("_sandbox/faults", json!({"service": "moyasar", "fault": {"status": 42}}), 422),
    ] {
        let (status, answer) = asked.post(path, body.clone()).await;
        assert_eq!(status, expected, "{path} {body}");
        assert!(answer["error"].is_string(), "{path} {body}");
    }
    asked.post(&pay, json!({})).await;
    assert_eq!(asked.post(&pay, json!({})).await.0, 409);
}

#[tokio::test]
async fn every_fault_is_shown_as_it_was_armed() {
    let asked = Asked::start().await;
    let faults = [
        json!({"service": "moyasar", "operation": "create_invoice", "fault": {"hang": true, "when": "after"}, "times": 1}),
        json!({"service": "moyasar", "operation": "*", "fault": {"latency_ms": 20, "when": "before"}, "times": null}),
        json!({"service": "posthog", "operation": "capture_batch", "fault": {"status": 429, "retry_after": 3, "when": "before"}, "times": 2}),
        json!({"service": "posthog", "operation": "*", "fault": {"status": 500, "when": "before"}, "times": null}),
        json!({"service": "sentry", "operation": "store_envelope", "fault": {"reset": true, "when": "before"}, "times": null}),
        json!({"service": "sentry", "operation": "*", "fault": {"malformed": true, "when": "before"}, "times": null}),
        json!({"service": "moyasar", "operation": "pay_invoice", "fault": {"late_payment": true}, "times": 1}),
        json!({"service": "moyasar", "operation": "pay_invoice", "fault": {"charge": {"amount": 1, "currency": null}}, "times": 1}),
        json!({"service": "webhook", "operation": "*", "fault": {"drop": true}, "times": 1}),
        json!({"service": "webhook", "operation": "*", "fault": {"duplicate": 3}, "times": 1}),
        json!({"service": "webhook", "operation": "*", "fault": {"reorder": true}, "times": 1}),
        json!({"service": "webhook", "operation": "*", "fault": {"delay_ms": 5}, "times": 1}),
        json!({"service": "webhook", "operation": "*", "fault": {"wrong_token": true}, "times": 1}),
        json!({"service": "webhook", "operation": "*", "fault": {"tamper": {"amount": 100}}, "times": 1}),
    ];
    for fault in &faults {
        assert_eq!(asked.post("_sandbox/faults", fault.clone()).await.0, 201, "{fault}");
    }
    let (_, shown) = asked.get("_sandbox/faults").await;
    let shown: Vec<Value> = shown["faults"]
        .as_array()
        .unwrap()
        .iter()
        .cloned()
        .map(|mut fault| {
            let fields = fault.as_object_mut().unwrap();
            assert!(fields.remove("id").unwrap().is_u64());
            assert_eq!(fields.remove("fired").unwrap(), 0);
            fault
        })
        .collect();
    assert_eq!(shown, faults);
    assert_eq!(asked.delete("_sandbox/faults").await.0, 204);
    assert_eq!(asked.get("_sandbox/faults").await.1["faults"], json!([]));
}

#[tokio::test]
async fn an_armed_fault_strikes_and_says_how_often() {
    let asked = Asked::start().await;
    let fault = json!({"service": "moyasar", "fault": {"status": 503}, "times": 2});
    asked.post("_sandbox/faults", fault).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(asked.get("v1/invoices").await.0);
    }
    assert_eq!(statuses, [503, 503, 200]);
    assert_eq!(asked.get("_sandbox/faults").await.1["faults"][0]["fired"], 2);
}

#[tokio::test]
async fn the_ledger_shows_everything_and_the_counts_only_numbers() {
    let merchant = Merchant::answering(&[200]).await;
    let asked = Asked::telling(&merchant).await;
    let id = asked.invoice_id().await;
    asked.post(&format!("_sandbox/invoices/{id}/pay"), json!({})).await;
    assert_eq!(asked.post("_sandbox/webhooks/flush", json!({})).await.0, 204);
    let (_, forged) = asked.post("_sandbox/webhooks/forge", json!({"body": {"a": 1}})).await;
    assert_eq!(forged, json!({"status": 200, "body": "noted"}));
    assert_eq!(merchant.bodies()[1], json!({"a": 1}));
    let (_, ledger) = asked.get("_sandbox/ledger").await;
    assert_eq!(ledger["requests"]["create_invoice"], 1);
    assert_eq!(ledger["invoices"][0]["payments"], ledger["payments"]);
    let delivery = &ledger["deliveries"][0];
    assert_eq!((&delivery["kind"], &delivery["status"]), (&json!("webhook"), &json!("delivered")));
    assert_eq!(delivery["body"]["type"], "payment_paid");
    assert_eq!(delivery["attempts"][0]["response_code"], 200);
    let (_, counts) = asked.get("_sandbox/counts").await;
    assert_eq!(counts["deliveries_by_status"], json!({"delivered": 1}));
    assert_eq!((&counts["invoices"], &counts["payments"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn freezing_expiring_and_the_clock_are_within_a_scripts_reach() {
    let asked = Asked::start().await;
    assert_eq!(asked.post("_sandbox/freeze", json!({})).await.1, json!({"is_frozen": true}));
    assert_eq!(asked.post("_sandbox/thaw", json!({})).await.1, json!({"is_frozen": false}));
    asked.post("_sandbox/clock", json!({"now": "2031-05-01T00:00:00Z", "advance_s": 60})).await;
    let invoice = asked.invoice(json!({})).await;
    assert!(text(&invoice["created_at"]).starts_with("2031-05-01T00:01:0"), "{invoice}");
    let path = format!("_sandbox/invoices/{}/expire", text(&invoice["id"]));
    assert_eq!(asked.post(&path, json!({})).await.1["status"], "expired");
}

#[tokio::test]
async fn a_bounded_ledger_forgets_the_oldest_deliveries() {
    let asked = Asked::with(Options { ledger_limit: 2, ..Options::default() }).await;
    let id = asked.invoice_id().await;
    for _ in 0..3 {
        asked
            .post(&format!("_sandbox/invoices/{id}/pay"), json!({"card": "4201320000311101"}))
            .await;
    }
    assert_eq!(asked.sandbox.ledger().deliveries().len(), 2);
    assert_eq!(asked.sandbox.held_webhooks().len(), 2);
    assert_eq!(asked.sandbox.counts().deliveries, 3);
}

#[tokio::test]
async fn the_last_handle_takes_the_listener_with_it() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let address = sandbox.base_url().socket_addrs(|| None).unwrap()[0];
    let clone = sandbox.clone();
    drop(sandbox);
    let stream = tokio::net::TcpStream::connect(address).await;
    assert!(stream.is_ok());
    drop(clone);
    // The listener goes with its task; an accepted connection ends too.
    let mut stream = stream.unwrap();
    let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
