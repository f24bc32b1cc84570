//! PostHog's batch endpoint.

use dealix_sandbox::{Fault, Operation, Trouble};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Asked, overlaid};

const UUID: &str = "0199a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1b";

fn event(more: Value) -> Value {
    let event = json!({
        "event": "payment_succeeded",
        "uuid": UUID,
        "distinct_id": "visitor-1",
        "timestamp": "2026-11-18T09:41:07.512Z",
        "properties": {"plan": "growth"},
    });
    overlaid(event, more)
}

async fn send(asked: &Asked, batch: Value) -> (u16, Value) {
    let key = asked.sandbox.posthog_key();
    asked.post("batch/", json!({"api_key": key, "batch": batch})).await
}

#[tokio::test]
async fn events_are_stored_once_and_their_copies_counted() {
    let asked = Asked::start().await;
    let batch =
        json!([event(json!({})), event(json!({"uuid": "0199a1b2-7c3d-7e4f-8a5b-6c7d8e9f0a1c"}))]);
    assert_eq!(send(&asked, batch).await, (200, json!({"status": 1})));
    assert_eq!(send(&asked, json!([event(json!({}))])).await.0, 200);
    let ledger = asked.sandbox.ledger();
    let counts: Vec<(u32, bool)> = ledger
        .posthog_events_named("payment_succeeded")
        .map(|event| (event.received, event.is_changed))
        .collect();
    assert_eq!(counts, [(2, false), (1, false)]);
    assert_eq!(ledger.posthog_events()[0].properties["plan"], "growth");
    assert_eq!(asked.sandbox.counts().posthog_duplicates, 1);
    assert_eq!(ledger.requests("capture_batch"), 2);
}

#[tokio::test]
async fn a_copy_that_differs_is_seen() {
    let asked = Asked::start().await;
    send(&asked, json!([event(json!({}))])).await;
    send(&asked, json!([event(json!({"timestamp": "2026-11-18T09:41:08.000Z"}))])).await;
    assert!(asked.sandbox.ledger().posthog_events()[0].is_changed);
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let asked = Asked::start().await;
    for body in [
        json!({"api_key": "phc_other", "batch": [event(json!({}))]}),
        json!({"batch": [event(json!({}))]}),
    ] {
        let (status, body) = asked.post("batch", body).await;
        assert_eq!((status, &body["type"]), (401, &json!("authentication_error")));
    }
    assert_eq!(asked.sandbox.counts().posthog_events, 0);
}

#[tokio::test]
async fn one_malformed_item_refuses_the_whole_batch() {
    let asked = Asked::start().await;
    for bad in [
        json!("text"),
        event(json!({"event": ""})),
        event(json!({"uuid": "7"})),
        event(json!({"distinct_id": null})),
        event(json!({"timestamp": "now"})),
        event(json!({"properties": []})),
    ] {
        let (status, body) = send(&asked, json!([event(json!({})), bad])).await;
        assert_eq!(status, 400, "{bad}");
        assert!(body["detail"].as_str().unwrap().starts_with("item 1:"), "{body}");
    }
    assert_eq!(send(&asked, json!([])).await.0, 400);
    let broken = asked.request(Method::POST, "batch/").body("{").send().await.unwrap();
    assert_eq!(broken.status(), 400);
    assert_eq!(asked.sandbox.counts().posthog_events, 0);
}

#[tokio::test]
async fn a_lost_answer_after_the_effect_shows_as_a_duplicate() {
    let asked = Asked::start().await;
    asked.sandbox.fault(Fault::after(Operation::CaptureBatch, Trouble::status(503)).once());
    assert_eq!(send(&asked, json!([event(json!({}))])).await.0, 503);
    assert_eq!(send(&asked, json!([event(json!({}))])).await.0, 200);
    assert_eq!(asked.sandbox.ledger().posthog_events()[0].received, 2);
}
