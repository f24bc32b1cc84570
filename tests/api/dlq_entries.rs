//! Single entries of the dead-letter queues, CONTRACT section 5: shown, revealed, edited, deleted, and had
//! back; and queues whose stores are away.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use dealix::queue::{Content, Payload, Queue};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::dead_letters::DeadLetters;
use crate::desk::{
    DLQ, audited, failed_sale, letter, letters, list, look, message, only_id, order, order_with,
    outcomes, push,
};
use crate::harness::{ADMIN_KEY, READER_KEY, TestApp};
use crate::proxy::Proxy;
use crate::shop::Shop;

#[sqlx::test(migrations = "./migrations")]
async fn an_entry_is_shown_redacted_and_revealed_to_an_admin_who_is_audited(db: PgPool) {
    let app = TestApp::start(db);
    push(&app, Queue::Outbound, &message(&app, "job:1")).await;
    let shown = look(&app, "/outbound/entries/job:1").await;
    let entry = shown.json();
    assert_eq!(
        entry["payload"],
        json!({ "to": "[redacted]", "name": "[redacted]", "amount": 1.5, "status": "new" })
    );
    assert_eq!((&entry["queue"], &entry["id"]), (&json!("outbound"), &json!("job:1")));
    assert_eq!((&entry["kind"], &entry["is_redacted"]), (&json!("job"), &json!(true)));
    for personal in ["sara@example.com", "سارة"] {
        assert!(!shown.text().contains(personal), "{shown:?}");
    }
    let path = "/outbound/entries/job:1?reveal=true";
    let refused = look(&app, path).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::FORBIDDEN, "forbidden".into()));
    let head = Request::head(format!("{DLQ}{path}")).header("x-api-key", ADMIN_KEY);
    assert_eq!(app.send(head.body(Body::empty()).unwrap()).await.status, StatusCode::OK);
    assert_eq!(audited(&app, "dlq.revealed").await.len(), 0);
    let revealed = order(&app, Method::GET, path).await;
    // Byte for byte.
    assert!(
        revealed.text().contains(
            r#""payload":{"to":"sara@example.com", "name":"سارة","amount":1.50,"status":"new"}"#
        ),
        "{revealed:?}"
    );
    let rows = audited(&app, "dlq.revealed").await;
    assert_eq!((rows.len(), rows[0].1.as_str()), (1, "outbound/job:1"));
    assert_eq!(rows[0].5, revealed.header("x-request-id"));
    // What nobody can read is shown as that.
    DeadLetters::of(&app).put("broken", &[0xff]);
    let broken = look(&app, "/webhooks/entries/broken").await.json();
    assert_eq!((&broken["kind"], &broken["payload"]), (&json!("unreadable"), &Value::Null));
}

#[sqlx::test(migrations = "./migrations")]
async fn an_entry_that_refers_to_a_row_is_revealed_with_what_the_row_holds(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    let path = format!("/webhooks/entries/{}", only_id(&shop.app).await);
    assert_eq!(look(&shop.app, &path).await.json().get("row"), None);
    let revealed = order(&shop.app, Method::GET, &format!("{path}?reveal=true")).await.json();
    assert_eq!(revealed["row"]["type"], "payment_paid");
    assert_eq!(revealed["row"]["data"]["amount"], 99_000);
    assert_eq!(audited(&shop.app, "dlq.revealed").await.len(), 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_edit_keeps_the_original_and_the_audit_holds_no_data(db: PgPool) {
    let shop = Shop::open(db).await;
    let app = &shop.app;
    push(app, Queue::CrmSync, &message(app, "job:1")).await;
    let path = "/crm_sync/entries/job:1";
    let edit =
        json!({ "payload": { "to": "other@example.com", "status": "mended" }, "reason": "a typo" });
    let edited = order_with(app, Method::PUT, path, &edit).await;
    assert_eq!(edited.status, StatusCode::OK, "{edited:?}");
    assert_eq!(edited.json()["payload"], json!({ "to": "[redacted]", "status": "mended" }));
    assert_eq!(edited.json()["is_edited"], true);
    let entry = letters(app).get(Queue::CrmSync, "job:1", app.clock.now()).await.unwrap().unwrap();
    let Content::Letter(kept) = entry.content else { panic!("it can be read") };
    let original = kept.original.as_ref().map(|original| original.json().into_owned());
    let Payload::Job { body } = message(app, "job:1").payload else { panic!("it is a job") };
    assert_eq!(original.as_ref(), Some(&body));
    // It is seen under the same veil.
    assert_eq!(edited.json()["original"]["to"], "[redacted]");
    let revealed = order(app, Method::GET, &format!("{path}?reveal=true")).await;
    assert!(revealed.text().contains(&format!(r#""original":{body}"#)), "{revealed:?}");
    let other = message(app, "job:2");
    push(app, Queue::CrmSync, &other).await;
    assert_eq!(look(app, "/crm_sync/entries/job:2").await.json().get("original"), None);
    let rows = audited(app, "dlq.edited").await;
    assert_eq!((rows.len(), rows[0].2.as_deref()), (1, Some("a typo")));
    let digests = format!("{} {}", rows[0].3, rows[0].4);
    assert!(digests.contains("sha256") && !digests.contains("example.com"), "{digests}");
    assert_ne!(rows[0].3, rows[0].4);

    for (wrong, pointers) in [
        (json!({}), vec!["/payload", "/reason"]),
        (json!({ "payload": [], "reason": "r" }), vec!["/payload"]),
        (json!({ "payload": "x", "reason": " " }), vec!["/payload", "/reason"]),
    ] {
        let answer = order_with(app, Method::PUT, path, &wrong).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        let errors = answer.json()["errors"].as_array().unwrap().clone();
        let told: Vec<_> = errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(told, pointers);
    }
    failed_sale(&shop).await;
    let id = only_id(app).await;
    push(app, Queue::Enrichment, &message(app, "job:2")).await;
    for path in [format!("/webhooks/entries/{id}"), "/enrichment/entries/job:2".to_owned()] {
        let answer = order_with(app, Method::PUT, &path, &edit).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::CONFLICT, "not-editable".into()));
    }
    let missing = order_with(app, Method::PUT, "/crm_sync/entries/none", &edit).await;
    assert_eq!(missing.code(), "entry-not-found");
    assert_eq!(audited(app, "dlq.edited").await.len(), 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn what_was_deleted_stays_away_and_can_be_had_back(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = failed_sale(&shop).await;
    let id = only_id(&shop.app).await;
    let path = format!("/webhooks/entries/{id}");
    let reason = json!({ "reason": "settled by hand" });
    let deleted = order_with(&shop.app, Method::DELETE, &path, &reason).await;
    assert_eq!(deleted.status, StatusCode::OK, "{deleted:?}");
    let until = shop.app.clock.now() + chrono::TimeDelta::days(30);
    let told: chrono::DateTime<chrono::Utc> =
        deleted.json()["undo_until"].as_str().unwrap().parse().unwrap();
    assert_eq!((told, &deleted.json()["id"]), (until, &json!(id)));
    let rows = audited(&shop.app, "dlq.deleted").await;
    assert_eq!((rows.len(), rows[0].2.as_deref()), (1, Some("settled by hand")));
    assert_eq!(order(&shop.app, Method::DELETE, &path).await.code(), "entry-not-found");
    // Nobody writes it anew, also if Redis forgets that it was deleted.
    for has_lost in [false, true] {
        if has_lost {
            DeadLetters::of(&shop.app).lose_all();
        }
        shop.advance(Duration::from_secs(2 * 60 * 60));
        shop.run_jobs().await;
        assert_eq!(list(&shop.app, "/webhooks").await, Vec::<Value>::new());
        if !has_lost {
            let all = order(&shop.app, Method::POST, "/webhooks/restore").await;
            assert_eq!(all.json(), json!({ "queue": "webhooks", "restored": 1 }));
            assert_eq!(only_id(&shop.app).await, id);
            order(&shop.app, Method::DELETE, &path).await;
        }
    }
    // What the bin has lost comes from Postgres.
    let none = order(&shop.app, Method::POST, "/webhooks/restore").await;
    assert_eq!(none.json()["restored"], 0);
    shop.advance(Duration::from_secs(2 * 60 * 60));
    shop.run_jobs().await;
    shop.advance(Duration::from_secs(2 * 60 * 60));
    shop.run_jobs().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn what_was_deleted_long_ago_does_not_come_back_with_the_rest(db: PgPool) {
    let shop = Shop::open(db).await;
    for is_last in [false, true] {
        failed_sale(&shop).await;
        let id = only_id(&shop.app).await;
        order(&shop.app, Method::DELETE, &format!("/webhooks/entries/{id}")).await;
        if !is_last {
            shop.advance(Duration::from_hours(31 * 24));
            shop.run_jobs().await;
        }
    }
    let restored = order(&shop.app, Method::POST, "/webhooks/restore").await;
    assert_eq!(restored.json(), json!({ "queue": "webhooks", "restored": 1 }));
    for _ in 0..2 {
        shop.advance(Duration::from_hours(2));
        shop.run_jobs().await;
    }
    assert_eq!(shop.count("webhook_events where shelved_at is not null").await, 1);
    assert_eq!(shop.count("webhook_events where status = 'failed'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn one_entry_is_had_back_by_its_id_and_replayed(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    let id = only_id(&shop.app).await;
    order(&shop.app, Method::DELETE, &format!("/webhooks/entries/{id}")).await;
    let body = json!({ "id": id, "reason": "deleted by mistake" });
    let restored = order_with(&shop.app, Method::POST, "/webhooks/restore", &body).await;
    assert_eq!(restored.json(), json!({ "queue": "webhooks", "restored": 1 }));
    let again = order_with(&shop.app, Method::POST, "/webhooks/restore", &body).await;
    assert_eq!(again.json()["restored"], 0);
    assert_eq!(shop.count("webhook_events where shelved_at is not null").await, 0);
    let unknown = json!({ "id": "none" });
    let answer = order_with(&shop.app, Method::POST, "/webhooks/restore", &unknown).await;
    assert_eq!(answer.code(), "entry-not-found");
    assert_eq!(audited(&shop.app, "dlq.restored").await[0].1, format!("webhooks/{id}"));
    let drained = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!(outcomes(&drained), [(id, "succeeded".to_owned())]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_purge_takes_what_is_there_but_not_what_somebody_has_in_hand(db: PgPool) {
    let app = TestApp::start(db);
    let now = app.clock.now();
    let desk = letters(&app);
    for number in 0..4 {
        push(&app, Queue::Outbound, &message(&app, &format!("job:{number}"))).await;
    }
    for number in 4..7 {
        let dead = message(&app, &format!("job:{number}"));
        desk.push_dead(Queue::Outbound, &dead, now).await.unwrap();
    }
    let lease = chrono::TimeDelta::seconds(30);
    let taken = desk.take(Queue::Outbound, now, lease, 1).await.unwrap();
    assert_eq!(taken.len(), 1);
    let held = taken[0].id().into_owned();
    let path = format!("/outbound/entries/{held}");
    for (method, path) in [(Method::DELETE, path.clone()), (Method::POST, format!("{path}/retry"))]
    {
        let answer = order(&app, method, &path).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::CONFLICT, "entry-in-flight".into())
        );
    }
    let edit = json!({ "payload": {}, "reason": "r" });
    assert_eq!(order_with(&app, Method::PUT, &path, &edit).await.code(), "entry-in-flight");
    let dead = json!({ "state": "dead", "reason": "a test that went wrong" });
    let purged = order_with(&app, Method::POST, "/outbound/purge", &dead).await.json();
    assert_eq!((&purged["queue"], &purged["purged"]), (&json!("outbound"), &json!(3)));
    let rest = order(&app, Method::POST, "/outbound/purge").await.json();
    assert_eq!(rest["purged"], 3);
    let left = list(&app, "/outbound").await;
    assert_eq!((left.len(), &left[0]["id"]), (1, &json!(held)));
    let restored = order(&app, Method::POST, "/outbound/restore").await.json();
    assert_eq!(restored, json!({ "queue": "outbound", "restored": 6 }));
    assert_eq!(list(&app, "/outbound?state=dead").await.len(), 3);
    assert_eq!(list(&app, "/outbound?state=ready").await.len(), 3);
    assert_eq!(audited(&app, "dlq.purged").await.len(), 2);
    for state in ["in_flight", "all"] {
        let body = json!({ "state": state });
        let answer = order_with(&app, Method::POST, "/outbound/purge", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}

/// Every route of the section, each with what it needs.
fn every_route() -> Vec<(Method, &'static str, Option<Value>)> {
    vec![
        (Method::GET, "/queues", None),
        (Method::GET, "/stats", None),
        (Method::GET, "/webhooks", None),
        (Method::GET, "/webhooks/peek", None),
        (Method::GET, "/webhooks/groups", None),
        (Method::GET, "/webhooks/entries/x", None),
        (Method::GET, "/webhooks/entries/x?reveal=true", None),
        (Method::POST, "/webhooks/drain", None),
        (Method::POST, "/webhooks/drain?dry_run=true", None),
        (Method::POST, "/webhooks/entries/x/retry", None),
        (Method::DELETE, "/webhooks/entries/x", None),
        (Method::PUT, "/outbound/entries/x", Some(json!({ "payload": {}, "reason": "r" }))),
        (Method::POST, "/webhooks/purge", None),
        (Method::POST, "/webhooks/restore", None),
        (Method::POST, "/webhooks/pause", None),
        (Method::POST, "/webhooks/resume", None),
        (Method::GET, "/webhooks/redrive", None),
        (Method::POST, "/webhooks/redrive", None),
        (Method::GET, "/webhooks/redrive/00000000-0000-0000-0000-000000000000", None),
        (Method::DELETE, "/webhooks/redrive/00000000-0000-0000-0000-000000000000", None),
        (Method::POST, "/webhooks/redrive/00000000-0000-0000-0000-000000000000/pause", None),
        (Method::POST, "/webhooks/redrive/00000000-0000-0000-0000-000000000000/resume", None),
    ]
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redis_that_does_not_answer_never_looks_like_an_empty_queue(db: PgPool) {
    let (redis, url) = Proxy::to_redis().await;
    let app = TestApp::start_with(db, &[("REDIS_URL", &url)]);
    assert_eq!(look(&app, "/queues").await.status, StatusCode::OK);
    redis.freeze();
    for (method, path, body) in every_route() {
        let began = Instant::now();
        let answer = match &body {
            Some(body) => order_with(&app, method.clone(), path, body).await,
            None => order(&app, method.clone(), path).await,
        };
        let took = began.elapsed();
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::SERVICE_UNAVAILABLE, "queue-unavailable".into()),
            "{method} {path}"
        );
        assert!(!answer.header("retry-after").is_empty());
        assert!(took < Duration::from_secs(2), "{method} {path}: {took:?}");
    }
    redis.thaw_for_new_connections();
    assert_eq!(look(&app, "/queues").await.json()["total_depth"], 0);
    let rows: i64 =
        sqlx::query_scalar("select count(*) from audit_log").fetch_one(&app.db).await.unwrap();
    assert_eq!(rows, 0, "nothing was ordered");
}

#[sqlx::test(migrations = "./migrations")]
async fn without_postgres_nothing_is_changed_and_a_drain_holds_what_waits(db: PgPool) {
    let (postgres, url) = Proxy::to_postgres(&db).await;
    let app = TestApp::start_alone(&[("DATABASE_URL", &url)]);
    let owed = letter(&app, "moyasar:e", Payload::StoredEvent { row_id: uuid::Uuid::nil() });
    push(&app, Queue::Webhooks, &owed).await;
    postgres.freeze();
    for (path, pointer) in
        [("/webhooks/drain", "/items/0/outcome"), ("/webhooks/entries/moyasar:e/retry", "/outcome")]
    {
        let held = order(&app, Method::POST, path).await;
        assert_eq!(held.json().pointer(pointer), Some(&json!("held")), "{held:?}");
    }
    for path in ["/webhooks/pause", "/webhooks/purge"] {
        let answer = order(&app, Method::POST, path).await;
        assert_eq!(answer.code(), "storage-unavailable");
    }
    let answer = order(&app, Method::DELETE, "/webhooks/entries/moyasar:e").await;
    assert_eq!(answer.code(), "storage-unavailable");
    let entry = &list(&app, "/webhooks").await[0];
    assert_eq!((&entry["state"], &entry["attempt"]), (&json!("ready"), &json!(0)));
    let stats = app.get_as(READER_KEY, &format!("{DLQ}/stats")).await.json();
    assert_eq!(stats["webhooks"]["paused"], false);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redis_that_forgot_its_scripts_serves_every_route(db: PgPool) {
    let app = TestApp::start(db);
    let mut raw = DeadLetters::of(&app);
    for (method, path, body) in every_route() {
        raw.flush_scripts();
        let answer = match &body {
            Some(body) => order_with(&app, method, path, body).await,
            None => order(&app, method, path).await,
        };
        let is_missing = |code: &str| ["entry-not-found", "redrive-not-found"].contains(&code);
        assert!(answer.status == StatusCode::OK || is_missing(&answer.code()), "{path}");
    }
}
