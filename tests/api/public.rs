//! The public site's routes, CONTRACT section 3, and what analytics gets, section 7.

use axum::http::StatusCode;
use dealix_sandbox::{Fault, Operation, Trouble};
use serde_json::json;
use sqlx::PgPool;
use std::time::Duration;

use crate::harness::TestApp;
use crate::shop::Shop;

const EVENTS: &str = "/api/v1/public/events";
const DEMO: &str = "/api/v1/public/demo-request";
const VISITOR: &str = "3f0c1c1e-6d0b-4d57-9d6c-6d8f4f1f3a55";

#[sqlx::test(migrations = "./migrations")]
async fn what_a_visitor_does_reaches_analytics_without_personal_data(db: PgPool) {
    let shop = Shop::open(db).await;
    let properties = json!({
        "utm_source": "نشرة", "path": "/pricing?email=a@example.com&phone=0512345678",
        "utm_campaign": "for a@example.com",  "email": "a@example.com", "phone": "0512345678",
        "plan": { "nested": 1 }, "variant": "v".repeat(201),
    });
    let body = json!({ "event": "landing_view", "distinct_id": VISITOR, "properties": properties });
    let answer = shop.app.post(EVENTS, body).await;
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::ACCEPTED, json!({ "status": "accepted" }))
    );
    shop.app.app.run_jobs_until_idle().await.unwrap();
    let ledger = shop.sandbox.ledger();
    let event = &ledger.posthog_events()[0];
    assert_eq!((event.event.as_str(), event.distinct_id.as_str()), ("landing_view", VISITOR));
    assert_eq!(
        json!(event.properties),
        json!({ "utm_source": "نشرة", "path": "/pricing", "utm_campaign": "for [address]" })
    );
    assert!(event.timestamp.starts_with("2026-01-02T03:04:05"), "{}", event.timestamp);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_visitor_cannot_report_what_only_we_can_know(db: PgPool) {
    let app = TestApp::start(db);
    for (body, pointer) in [
        (json!({ "event": "payment_succeeded", "distinct_id": VISITOR }), "/event"),
        (json!({ "distinct_id": VISITOR }), "/event"),
        (json!({ "event": "landing_view", "distinct_id": "buyer@example.com" }), "/distinct_id"),
        (json!({ "event": "landing_view" }), "/distinct_id"),
        (
            json!({ "event": "landing_view", "distinct_id": VISITOR, "properties": 5 }),
            "/properties",
        ),
    ] {
        let answer = app.post(EVENTS, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_demo_request_is_kept_and_told_to_analytics_without_its_person(db: PgPool) {
    let shop = Shop::open(db).await;
    let body = json!({
        "name": "نورة", "email": "visitor@example.com", "company": "شركة", "phone": "0512345678",
        "message": "أرغب في عرض", "consent": true, "website": "",
    });
    let answer = shop.app.post(DEMO, body).await;
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::ACCEPTED, json!({ "status": "accepted" }))
    );
    let lead: (String, String, String) =
        sqlx::query_as("select name, phone, message from demo_requests")
            .fetch_one(&shop.app.db)
            .await
            .unwrap();
    assert_eq!(lead, ("نورة".into(), "+966512345678".into(), "أرغب في عرض".into()));
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.analytics(), ["demo_request"]);
    let told = serde_json::to_string(shop.sandbox.ledger().posthog_events()).unwrap();
    assert!(!told.contains("visitor@") && !told.contains("512345678") && !told.contains("نورة"));
}

#[sqlx::test(migrations = "./migrations")]
async fn without_consent_nothing_is_kept(db: PgPool) {
    let shop = Shop::open(db).await;
    for consent in [json!({ "consent": false }), json!({})] {
        let mut body = json!({ "name": "A", "email": "a@example.com" });
        body.as_object_mut().unwrap().extend(consent.as_object().unwrap().clone());
        let answer = shop.app.post(DEMO, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer.json()["errors"][0]["pointer"], "/consent");
    }
    assert_eq!(shop.count("demo_requests").await, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_filled_honeypot_is_accepted_and_dropped(db: PgPool) {
    let shop = Shop::open(db).await;
    let body = json!({ "name": "A", "email": "a@example.com", "consent": true, "website": "https://example.com" });
    assert_eq!(shop.app.post(DEMO, body).await.status, StatusCode::ACCEPTED);
    for body in [
        json!({ "website": "x" }),
        json!({ "website": ["x"] }),
        json!({ "website": "x", "name": 7, "email": [], "consent": "yes" }),
    ] {
        assert_eq!(shop.app.post(DEMO, body).await.status, StatusCode::ACCEPTED);
    }
    let empty = json!({ "website": " ", "name": 7 });
    assert_eq!(shop.app.post(DEMO, empty).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!((shop.count("demo_requests").await, shop.count("outbox").await), (0, 0));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_dead_database_takes_no_lead_and_says_so(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.app.db.close().await;
    let body = json!({ "name": "A", "email": "a@example.com", "consent": true });
    let answer = shop.app.post(DEMO, body).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable".into())
    );
    let body = json!({ "event": "landing_view", "distinct_id": VISITOR });
    assert_eq!(shop.app.post(EVENTS, body).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_is_the_same_on_every_send(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.app.post(EVENTS, json!({ "event": "landing_view", "distinct_id": VISITOR })).await;
    // PostHog takes the batch and the answer is lost: it is sent again.
    shop.sandbox.fault(Fault::after(Operation::CaptureBatch, Trouble::status(500)).once());
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("outbox where status = 'pending'").await, 1);
    shop.advance(Duration::from_secs(11));
    shop.app.app.run_jobs_until_idle().await.unwrap();
    let ledger = shop.sandbox.ledger();
    let event = &ledger.posthog_events()[0];
    assert_eq!((ledger.posthog_events().len(), event.received, event.is_changed), (1, 2, false));
    assert_eq!(shop.count("outbox where status = 'sent'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn events_wait_out_an_outage_and_none_is_lost(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::before(Operation::CaptureBatch, Trouble::status(503)));
    for _ in 0..250 {
        shop.app.post(EVENTS, json!({ "event": "landing_view", "distinct_id": VISITOR })).await;
    }
    for _ in 0..30 {
        shop.app.app.run_jobs_until_idle().await.unwrap();
        shop.advance(Duration::from_secs(120));
    }
    assert!(shop.sandbox.ledger().requests("capture_batch") < 60, "an outage is not hammered");
    shop.sandbox.clear_faults();
    shop.advance(Duration::from_secs(400));
    for _ in 0..5 {
        shop.app.app.run_jobs_until_idle().await.unwrap();
        shop.advance(Duration::from_secs(400));
    }
    let ledger = shop.sandbox.ledger();
    assert_eq!(ledger.posthog_events().len(), 250);
    assert!(ledger.posthog_events().iter().all(|event| event.received == 1));
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_analytics_refuses_does_not_hold_up_the_others(db: PgPool) {
    let shop = Shop::open(db).await;
    for _ in 0..7 {
        shop.app.post(EVENTS, json!({ "event": "landing_view", "distinct_id": VISITOR })).await;
    }
    sqlx::query("update outbox set distinct_id = '' where id = (select id from outbox order by id offset 3 limit 1)")
        .execute(&shop.app.db)
        .await
        .unwrap();
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.sandbox.ledger().posthog_events().len(), 6);
    assert_eq!(shop.count("outbox where status = 'refused' and distinct_id = ''").await, 1);
    assert_eq!(shop.count("outbox where status = 'sent'").await, 6);
}

#[sqlx::test(migrations = "./migrations")]
async fn switched_off_analytics_keeps_rows_as_skipped_and_never_sends_them(db: PgPool) {
    let off = Shop::open_with(db.clone(), &[("POSTHOG_ENABLED", "false")]).await;
    off.buy().await;
    assert_eq!(off.count("outbox where status = 'skipped'").await, 1);
    let on = Shop::open(db).await;
    on.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(on.analytics(), Vec::<String>::new());
}
