//! The dead-letter queues at a glance, CONTRACT section 5: depths, lists, filters, pages, groups, pauses.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use dealix::queue::Queue;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::dead_letters::DeadLetters;
use crate::desk::{
    DLQ, audited, failed_sale, list, look, message, only_id, order, order_with, outcomes, push,
};
use crate::harness::{ADMIN_KEY, READER_KEY, SERVICE_KEY, TestApp};
use crate::shop::Shop;

#[sqlx::test(migrations = "./migrations")]
async fn all_five_queues_are_shown_with_every_unresolved_entry(db: PgPool) {
    let shop = Shop::open(db).await;
    let queues = look(&shop.app, "/queues").await.json();
    let none =
        json!({ "webhooks": 0, "outbound": 0, "enrichment": 0, "analytics": 0, "crm_sync": 0 });
    assert_eq!(queues, json!({ "queues": none, "total_depth": 0 }));
    let stats = look(&shop.app, "/stats").await.json();
    assert_eq!(
        stats["outbound"],
        json!({ "queue": "outbound", "depth": 0, "ready": 0, "scheduled": 0, "in_flight": 0,
            "dead": 0, "paused": false, "oldest_age_s": null, "last_error": null,
            "last_at": null, "last_source": null })
    );
    assert_eq!(stats.as_object().unwrap().len(), 5);

    failed_sale(&shop).await;
    let now = shop.app.clock.now();
    push(&shop.app, Queue::Outbound, &message(&shop.app, "job:1")).await;
    let dead = message(&shop.app, "job:2");
    crate::desk::letters(&shop.app).push_dead(Queue::Outbound, &dead, now).await.unwrap();
    shop.advance(Duration::from_secs(61));
    let queues = look(&shop.app, "/queues").await.json();
    assert_eq!((&queues["total_depth"], &queues["queues"]["outbound"]), (&json!(3), &json!(2)));
    let stats = look(&shop.app, "/stats").await.json();
    assert_eq!(
        stats["outbound"],
        json!({ "queue": "outbound", "depth": 2, "ready": 1, "scheduled": 0, "in_flight": 0,
            "dead": 1, "paused": false, "oldest_age_s": 61,
            "last_error": "the mail server refused it", "last_at": now.timestamp(),
            "last_source": "mailer" })
    );
    let webhooks = &stats["webhooks"];
    assert_eq!((&webhooks["depth"], &webhooks["scheduled"]), (&json!(1), &json!(1)));
    assert_eq!(webhooks["last_source"], "moyasar");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_entry_is_listed_with_all_that_the_contract_promises(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    let answer = look(&shop.app, "/webhooks").await.json();
    let entry = &answer["entries"][0];
    let (created, next) = (&entry["created_at"], &entry["next_attempt_at"]);
    assert!(next.is_number() && created.as_i64() == Some(shop.app.clock.now().timestamp()));
    assert_eq!(
        answer,
        json!({ "queue": "webhooks", "count": 1, "entries": [{
            "id": entry["id"], "source": "moyasar", "state": "scheduled",
            "error": entry["error"], "error_class": "refused", "attempt": 0, "max_retries": 5,
            "created_at": created, "last_attempt_at": created, "next_attempt_at": next,
            "request_id": entry["request_id"],
        }] })
    );
    let known: String = sqlx::query_scalar("select 'moyasar:' || dedupe_key from webhook_events")
        .fetch_one(&shop.app.db)
        .await
        .unwrap();
    assert_eq!(entry["id"], known.as_str());
    let peek = look(&shop.app, "/webhooks/peek?n=1").await.json();
    assert_eq!(
        peek,
        json!({ "queue": "webhooks", "returned": 1, "depth": 1, "items": [{
            "id": known, "source": "moyasar", "error": entry["error"], "attempts": 0,
            "first_seen_at": created, "last_attempt_at": created, "payload_keys": ["row_id"],
        }] })
    );
    let groups = look(&shop.app, "/webhooks/groups").await.json();
    let group = &groups["groups"][0];
    assert_eq!((&group["error_class"], &group["count"]), (&json!("refused"), &json!(1)));
    let path = format!("/webhooks?group={}", group["fingerprint"].as_str().unwrap());
    assert_eq!(list(&shop.app, &path).await.len(), 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn another_queue_is_not_found_and_limits_are_from_1_to_100(db: PgPool) {
    let app = TestApp::start(db);
    let routes = [
        (Method::GET, "/payments"),
        (Method::GET, "/payments/peek"),
        (Method::GET, "/payments/groups"),
        (Method::GET, "/payments/entries/x"),
        (Method::POST, "/payments/drain"),
        (Method::POST, "/payments/entries/x/retry"),
        (Method::DELETE, "/payments/entries/x"),
        (Method::POST, "/payments/purge"),
        (Method::POST, "/payments/restore"),
        (Method::POST, "/payments/pause"),
        (Method::POST, "/payments/resume"),
    ];
    for (method, path) in routes {
        let answer = order(&app, method.clone(), path).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::NOT_FOUND, "queue-not-found".into())
        );
    }
    let edit = json!({ "payload": {}, "reason": "r" });
    let answer = order_with(&app, Method::PUT, "/payments/entries/x", &edit).await;
    assert_eq!(answer.code(), "queue-not-found");
    for number in ["0", "101", "-1", "x", "99999999999999999999"] {
        for (method, path) in [
            (Method::GET, format!("/outbound?limit={number}")),
            (Method::GET, format!("/outbound/peek?n={number}")),
            (Method::GET, format!("/outbound/groups?limit={number}")),
            (Method::POST, format!("/outbound/drain?limit={number}")),
        ] {
            let answer = order(&app, method, &path).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        }
    }
    for wrong in ["state=done", "cursor=7", "older_than_s=-1"] {
        let answer = look(&app, &format!("/outbound?{wrong}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    for (method, path) in [
        (Method::GET, "/outbound/entries/none"),
        (Method::POST, "/outbound/entries/none/retry"),
        (Method::DELETE, "/outbound/entries/none"),
    ] {
        let answer = order(&app, method, path).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::NOT_FOUND, "entry-not-found".into())
        );
    }
    for key in [SERVICE_KEY, READER_KEY] {
        let answer = app.post_as(key, &format!("{DLQ}/outbound/drain"), json!({})).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_malformed_entry_is_shown_among_the_others_on_every_list(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    let good = only_id(&shop.app).await;
    let mut raw = DeadLetters::of(&shop.app);
    raw.put("broken", b"{\"v\":1,");
    raw.put("noise", &[0xff, 0x00]);
    let ids = |entries: &Value| -> Vec<_> {
        let entries = entries.as_array().unwrap();
        entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = ["broken", "noise", &good];
    assert_eq!(ids(&json!(list(&shop.app, "/webhooks").await)), all);
    let peek = look(&shop.app, "/webhooks/peek").await.json();
    assert_eq!((ids(&peek["items"]), &peek["depth"]), (all.map(str::to_owned).into(), &json!(3)));
    assert_eq!(look(&shop.app, "/stats").await.json()["webhooks"]["depth"], 3);
    assert_eq!(look(&shop.app, "/queues").await.json()["total_depth"], 3);
    let broken = list(&shop.app, "/webhooks?error=unreadable").await;
    assert!(broken.is_empty(), "written past us, so no index knows them: {broken:?}");
}

#[sqlx::test(migrations = "./migrations")]
async fn entries_come_in_pages_oldest_first_and_by_every_filter(db: PgPool) {
    let app = TestApp::start(db);
    for number in 0..7 {
        let mut letter = message(&app, &format!("job:{number}"));
        letter.source = if number % 2 == 0 { "mailer" } else { "messenger" }.to_owned();
        letter.error_class = if number < 3 { "refused" } else { "timeout" }.to_owned();
        push(&app, Queue::CrmSync, &letter).await;
        app.clock.advance(Duration::from_secs(1));
    }
    let (mut path, mut seen, mut pages) = ("/crm_sync?limit=3".to_owned(), Vec::new(), 0);
    loop {
        let page = look(&app, &path).await.json();
        let ids = page["entries"].as_array().unwrap().iter().map(|entry| entry["id"].clone());
        seen.extend(ids);
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/crm_sync?limit=3&cursor={cursor}");
    }
    let all: Vec<_> = (0..7).map(|number| json!(format!("job:{number}"))).collect();
    assert_eq!((seen, pages >= 3), (all, true));
    for (filter, found) in [
        ("source=mailer", 4),
        ("error=timeout", 4),
        ("source=mailer&error=timeout", 2),
        ("state=ready", 7),
        ("state=dead", 0),
        ("request_id=request-of-job:3", 1),
        ("older_than_s=5", 2),
        ("source=nobody", 0),
    ] {
        let entries = list(&app, &format!("/crm_sync?{filter}")).await;
        assert_eq!(entries.len(), found, "{filter}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_paused_queue_is_not_replayed_by_itself_and_drained_all_the_same(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = failed_sale(&shop).await;
    let reason = json!({ "reason": "the provider is being changed over" });
    let paused = order_with(&shop.app, Method::POST, "/webhooks/pause", &reason).await;
    assert_eq!(paused.json(), json!({ "queue": "webhooks", "paused": true }));
    let rows = audited(&shop.app, "dlq.paused").await;
    let (actor, subject, why, before, after, request_id) = &rows[0];
    assert!(actor.starts_with("key:"), "{actor}");
    assert_eq!((subject.as_str(), why.as_deref()), ("webhooks", reason["reason"].as_str()));
    assert_eq!((before, after), (&json!({ "paused": false }), &json!({ "paused": true })));
    assert_eq!(request_id, paused.header("x-request-id"));
    assert_eq!(look(&shop.app, "/stats").await.json()["webhooks"]["paused"], true);
    shop.advance(Duration::from_secs(60 * 60));
    shop.run_jobs().await;
    assert_eq!(shop.look(&bought).await["status"], "pending");
    let id = only_id(&shop.app).await;
    let drained = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!(outcomes(&drained), [(id, "succeeded".to_owned())]);
    assert_eq!(shop.look(&bought).await["status"], "paid");
    let resumed = order(&shop.app, Method::POST, "/webhooks/resume").await;
    assert_eq!(resumed.json(), json!({ "queue": "webhooks", "paused": false }));
    assert_eq!(audited(&shop.app, "dlq.resumed").await.len(), 1);
    assert_eq!(look(&shop.app, "/stats").await.json()["webhooks"]["paused"], Value::Bool(false));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_resumed_queue_is_replayed_by_itself_again(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = failed_sale(&shop).await;
    for way in ["pause", "pause", "resume", "resume"] {
        let answer = shop.app.post_as(ADMIN_KEY, &format!("{DLQ}/webhooks/{way}"), json!({})).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    shop.advance(Duration::from_secs(60 * 60));
    shop.run_jobs().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}
