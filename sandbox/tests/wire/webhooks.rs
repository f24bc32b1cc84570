//! Webhooks: the envelope, the retry schedule on a held clock, registration, and what goes astray on demand.

use std::sync::mpsc;
use std::time::Duration;

use dealix_sandbox::{CardFlow, DeliveryStatus, Fault, Mischief, Options, WebhookTarget, cards};
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

use crate::harness::{Asked, Merchant, Received, SECRET, keys, text};

/// Stops the runtime's clock from running ahead while sockets are busy: only `advance` moves it.
fn hold_the_clock() -> mpsc::Sender<()> {
    let (held, until) = mpsc::channel();
    tokio::task::spawn_blocking(move || until.recv());
    held
}

/// Lets everything run that can run now.
async fn breathe(asked: &Asked) {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    asked.sandbox.settled().await;
}

fn types(bodies: &[Value]) -> Vec<&str> {
    bodies.iter().map(|body| body["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_event_has_the_documented_envelope() {
    let merchant = Merchant::answering(&[200]).await;
    let asked = Asked::telling(&merchant).await;
    let id = asked.invoice_id().await;
    let payment = asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    asked.sandbox.settled().await;
    let bodies = merchant.bodies();
    let event = &bodies[0];
    assert_eq!(
        keys(event),
        ["account_name", "created_at", "data", "id", "live", "secret_token", "type"]
    );
    assert_eq!((&event["type"], &event["live"]), (&json!("payment_paid"), &json!(false)));
    assert_eq!(event["secret_token"], SECRET);
    assert_eq!(text(&event["created_at"]).len(), "2026-11-18T09:41:08Z".len());
    let (_, fetched) = asked.get(&format!("v1/payments/{}", payment.id)).await;
    assert_eq!(event["data"], fetched);
}

#[tokio::test]
async fn every_change_of_a_payment_has_its_event() {
    let asked = Asked::start().await;
    let new = || asked.invoice_id();
    let authorize = cards::VISA_APPROVED.with_flow(CardFlow::Authorize);
    let begin = cards::VISA_APPROVED.with_flow(CardFlow::Begin);
    let sandbox = &asked.sandbox;

    sandbox.pay(&new().await, cards::MADA_STOLEN).await.unwrap();
    let paid = sandbox.pay(&new().await, cards::MADA_APPROVED).await.unwrap();
    sandbox.refund(&paid.id, Some(100)).unwrap();
    let held = sandbox.pay(&new().await, authorize).await.unwrap();
    sandbox.capture(&held.id, None).unwrap();
    sandbox.void(&held.id).unwrap();
    let waiting = sandbox.pay(&new().await, begin).await.unwrap();
    for status in ["abandoned", "verified", "expired", "canceled"] {
        sandbox.set_payment_status(&waiting.id, status).unwrap();
    }
    let events = sandbox.held_webhooks();
    assert_eq!(
        types(&events),
        [
            "payment_failed",
            "payment_paid",
            "payment_refunded",
            "payment_authorized",
            "payment_captured",
            "payment_voided",
            "payment_abandoned",
            "payment_verified",
            "payment_expired",
            "payment_canceled",
        ]
    );
    assert_eq!(events[2]["data"]["refunded"], 100);
    assert_eq!(events[6]["data"]["status"], "initiated");
    assert!(events.iter().all(|event| event["secret_token"] == sandbox.webhook_secret()));
    assert_eq!(sandbox.take_held_webhooks(), events);
    assert_eq!(sandbox.held_webhooks(), Vec::<Value>::new());
}

/// Lets a merchant that always fails see the whole schedule and answers the gaps between attempts.
async fn gaps_at(time_scale: u32) -> Vec<Duration> {
    let _held = hold_the_clock();
    let merchant = Merchant::answering(&[500, 404, 302, 500]).await;
    let webhook =
        Some(WebhookTarget { url: merchant.url.clone(), shared_secret: SECRET.to_owned() });
    let asked = Asked::with(Options { webhook, time_scale, ..Options::default() }).await;
    let id = asked.invoice_id().await;
    asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    let step = Duration::from_secs(30) / time_scale;
    let start = Instant::now();
    let most = Duration::from_hours(5) / time_scale;
    while start.elapsed() < most {
        breathe(&asked).await;
        advance(step).await;
    }
    asked.sandbox.concluded().await;
    let received = merchant.received();
    let id = &received[0].body["id"];
    assert!(received.iter().all(|received| received.body["id"] == *id));
    let deliveries = asked.sandbox.ledger().deliveries().to_vec();
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].status, DeliveryStatus::Dropped);
    let numbers: Vec<u32> =
        deliveries[0].attempts.iter().map(|attempt| attempt.retry_number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    received.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

/// The clock moves in steps of half a minute, so a gap may look one step longer.
fn assert_schedule(gaps: &[Duration], time_scale: u32) {
    let minutes = [1, 10, 30, 60, 120];
    assert_eq!(gaps.len(), minutes.len(), "{gaps:?}");
    for (gap, minutes) in gaps.iter().zip(minutes) {
        let wait = Duration::from_mins(minutes) / time_scale;
        let step = Duration::from_secs(30) / time_scale;
        assert!(*gap >= wait && *gap <= wait + step, "{gap:?} instead of {wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_webhook_is_tried_six_times_in_under_four_hours() {
    assert_schedule(&gaps_at(1).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_scaled_clock_turns_minutes_into_seconds() {
    assert_schedule(&gaps_at(60).await, 60);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_answer_in_five_seconds_has_failed() {
    let _held = hold_the_clock();
    let merchant = Merchant::answering(&[0, 204]).await;
    let asked = Asked::telling(&merchant).await;
    let id = asked.invoice_id().await;
    asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    merchant.has_received(1).await;
    advance(Duration::from_millis(5_100)).await;
    asked.sandbox.settled().await;
    let attempt = asked.sandbox.ledger().deliveries()[0].attempts[0].clone();
    assert_eq!((attempt.result, attempt.response_code), ("failed", None));
    asked.sandbox.flush_webhooks();
    asked.sandbox.settled().await;
    assert_eq!(asked.sandbox.ledger().deliveries()[0].status, DeliveryStatus::Delivered);
}

#[tokio::test]
async fn attempts_can_be_read_back_newest_first() {
    let merchant = Merchant::answering(&[500, 200]).await;
    let asked = Asked::telling(&merchant).await;
    let id = asked.invoice_id().await;
    asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    asked.sandbox.settled().await;
    asked.sandbox.flush_webhooks();
    asked.sandbox.settled().await;
    let (status, list) = asked.get("v1/webhooks/attempts").await;
    assert_eq!((status, &list["meta"]["total_count"]), (200, &json!(2)));
    let [newest, oldest] = [&list["webhook_attempts"][0], &list["webhook_attempts"][1]];
    assert_eq!(
        keys(newest),
        [
            "created_at",
            "event_id",
            "event_type",
            "id",
            "message",
            "response_body",
            "response_code",
            "response_headers",
            "result",
            "retry_number",
            "webhook_id",
        ]
    );
    assert_eq!((&newest["retry_number"], &newest["result"]), (&json!(2), &json!("success")));
    assert_eq!((&oldest["retry_number"], &oldest["response_code"]), (&json!(1), &json!(500)));
    assert_eq!(newest["event_id"], oldest["event_id"]);
    assert_eq!(newest["response_body"], "noted");
    assert!(serde_json::from_str::<Value>(newest["response_headers"].as_str().unwrap()).is_ok());
    let (status, one) = asked.get(&format!("v1/webhooks/attempts/{}", text(&oldest["id"]))).await;
    assert_eq!((status, &one), (200, oldest));
    assert_eq!(asked.get("v1/webhooks/attempts/none").await.0, 404);
}

#[tokio::test]
async fn a_registered_webhook_receives_nothing_before_it_gives_back_its_code() {
    let merchant = Merchant::answering(&[200]).await;
    let asked = Asked::start().await;
    let request = json!({
        "http_method": "post",
        "url": merchant.url,
        "shared_secret": SECRET,
        "events": ["payment_paid"],
    });
    let (status, webhook) = asked.post("v1/webhooks", request).await;
    assert_eq!(status, 201);
    assert_eq!(keys(&webhook), ["created_at", "events", "http_method", "id", "url", "verified"]);
    assert_eq!(webhook["verified"], false);
    asked.sandbox.settled().await;
    let bodies = merchant.bodies();
    assert_eq!(
        keys(&bodies[0]),
        ["account_name", "created_at", "data", "id", "secret_token", "type"]
    );
    assert_eq!(bodies[0]["data"]["webhook_id"], webhook["id"]);

    let invoice = asked.invoice_id().await;
    asked.sandbox.pay(&invoice, cards::MADA_LOST).await.unwrap();
    asked.sandbox.settled().await;
    assert_eq!(types(&merchant.bodies()), ["webhook_verification"]);

    let verify = format!("v1/webhooks/{}/verify", text(&webhook["id"]));
    let (status, wrong) = asked.post(&verify, json!({"code": "12"})).await;
    assert_eq!((status, &wrong["type"]), (400, &json!("webhook_verification_invalid")));
    let code = &bodies[0]["data"]["verification_code"];
    let (status, verified) = asked.post(&verify, json!({"code": code})).await;
    assert_eq!((status, &verified["verified"]), (200, &json!(true)));
    assert!(verified["verified_at"].is_string());

    asked.sandbox.pay(&invoice, cards::MADA_LOST).await.unwrap();
    asked.sandbox.pay(&invoice, cards::MADA_APPROVED).await.unwrap();
    asked.sandbox.settled().await;
    assert_eq!(types(&merchant.bodies()), ["webhook_verification", "payment_paid"]);
}

#[tokio::test]
async fn a_code_ends_after_five_wrong_tries_and_after_half_an_hour() {
    let merchant = Merchant::answering(&[200]).await;
    let asked = Asked::start().await;
    let request = json!({"http_method": "post", "url": merchant.url, "shared_secret": SECRET});
    let mut verify = Vec::new();
    for _ in 0..2 {
        let (_, webhook) = asked.post("v1/webhooks", request.clone()).await;
        verify.push(format!("v1/webhooks/{}/verify", text(&webhook["id"])));
        asked.sandbox.settled().await;
    }
    let codes: Vec<Value> =
        merchant.bodies().iter().map(|body| body["data"]["verification_code"].clone()).collect();
    for _ in 0..5 {
        asked.post(&verify[0], json!({"code": "x"})).await;
    }
    assert_eq!(asked.post(&verify[0], json!({"code": codes[0]})).await.0, 400);
    asked.sandbox.advance(Duration::from_mins(31));
    assert_eq!(asked.post(&verify[1], json!({"code": codes[1]})).await.0, 400);
}

#[tokio::test]
async fn webhooks_are_listed_fetched_and_deleted() {
    let merchant = Merchant::answering(&[200]).await;
    let asked = Asked::telling(&merchant).await;
    let (_, list) = asked.get("v1/webhooks").await;
    let webhook = &list["webhooks"][0];
    let path = format!("v1/webhooks/{}", text(&webhook["id"]));
    assert_eq!(asked.get(&path).await, (200, webhook.clone()));
    let (_, available) = asked.get("v1/webhooks/available_events").await;
    assert_eq!(available["events"], webhook["events"]);
    assert!(available["events"].as_array().unwrap().contains(&json!("payment_failed")));
    assert_eq!(asked.delete(&path).await.0, 200);
    assert_eq!(asked.delete(&path).await.0, 404);
    assert_eq!(asked.get(&path).await.0, 404);
    for field in ["http_method", "url", "shared_secret", "events"] {
        let mut request = json!({
            "http_method": "post", "url": merchant.url, "shared_secret": SECRET, "events": ["payment_paid"],
        });
        request[field] = json!("");
        let (status, body) = asked.post("v1/webhooks", request).await;
        assert_eq!((status, keys(&body["errors"])), (400, vec![field]));
    }
}

#[tokio::test]
async fn a_paid_invoice_calls_back_once_even_if_nobody_listens_well() {
    let merchant = Merchant::answering(&[500]).await;
    let asked = Asked::start().await;
    let invoice = asked.invoice(json!({"callback_url": merchant.url})).await;
    let id = text(&invoice["id"]);
    asked.sandbox.pay(&id, cards::MADA_LOST).await.unwrap();
    asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    asked.sandbox.concluded().await;
    let (_, paid) = asked.get(&format!("v1/invoices/{id}")).await;
    assert_eq!(merchant.bodies(), [paid]);
}

#[tokio::test]
async fn a_callback_to_another_machine_never_leaves() {
    let asked = Asked::start().await;
    let callback = "https://api.shop.example.com/callback";
    let invoice = asked.invoice(json!({"callback_url": callback})).await;
    asked.sandbox.pay(&text(&invoice["id"]), cards::MADA_APPROVED).await.unwrap();
    let held = asked.sandbox.held_callbacks();
    assert_eq!(held.len(), 1);
    assert_eq!((held[0].url.as_str(), &held[0].body["status"]), (callback, &json!("paid")));
}

/// Pays one invoice under this mischief and answers what the merchant has received after a flush.
async fn received_under(mischief: Mischief) -> (Vec<Value>, Asked) {
    let merchant = Merchant::answering(&[200]).await;
    let asked = Asked::telling(&merchant).await;
    asked.sandbox.fault(Fault::delivery(mischief).once());
    let id = asked.invoice_id().await;
    asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    asked.sandbox.flush_webhooks();
    asked.sandbox.concluded().await;
    (merchant.bodies(), asked)
}

#[tokio::test]
async fn a_dropped_event_is_never_sent() {
    let (bodies, asked) = received_under(Mischief::Drop).await;
    assert_eq!(bodies, Vec::<Value>::new());
    assert_eq!(asked.sandbox.ledger().deliveries()[0].status, DeliveryStatus::Lost);
}

#[tokio::test]
async fn a_duplicated_event_is_the_same_event() {
    let (bodies, _asked) = received_under(Mischief::Duplicate(2)).await;
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[tokio::test]
async fn a_delayed_event_arrives_all_the_same() {
    let (bodies, _asked) = received_under(Mischief::Delay(Duration::from_hours(9))).await;
    assert_eq!(types(&bodies), ["payment_paid"]);
}

#[tokio::test]
async fn a_wrong_token_and_a_forged_amount_are_only_in_the_body() {
    let (bodies, _asked) = received_under(Mischief::WrongToken).await;
    assert_ne!(bodies[0]["secret_token"], SECRET);
    let (bodies, asked) = received_under(Mischief::Tamper { amount: 100 }).await;
    assert_eq!(bodies[0]["data"]["amount"], 100);
    assert_eq!(bodies[0]["data"]["amount_format"], "1.00 SAR");
    let id = text(&bodies[0]["data"]["id"]);
    assert_eq!(asked.get(&format!("v1/payments/{id}")).await.1["amount"], 11_500);
}

#[tokio::test]
async fn reordered_events_arrive_newest_first() {
    let merchant = Merchant::answering(&[200]).await;
    let asked = Asked::telling(&merchant).await;
    asked.sandbox.fault(Fault::delivery(Mischief::Reorder));
    let id = asked.invoice_id().await;
    asked.sandbox.pay(&id, cards::MADA_LOST).await.unwrap();
    let paid = asked.sandbox.pay(&id, cards::MADA_APPROVED).await.unwrap();
    asked.sandbox.refund(&paid.id, None).unwrap();
    asked.sandbox.settled().await;
    assert_eq!(merchant.received().len(), 0);
    asked.sandbox.flush_webhooks();
    asked.sandbox.settled().await;
    let bodies: Vec<Value> =
        merchant.received().into_iter().map(|Received { body, .. }| body).collect();
    assert_eq!(types(&bodies), ["payment_refunded", "payment_paid", "payment_failed"]);
}

#[tokio::test]
async fn a_forged_body_is_posted_as_it_is_and_its_answer_shown() {
    let merchant = Merchant::answering(&[418]).await;
    let asked = Asked::telling(&merchant).await;
    let answer = asked.sandbox.forge("not json").await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (418, "noted"));
    assert_eq!(merchant.bodies(), [json!("not json")]);
}
