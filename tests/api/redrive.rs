//! Redrives, CONTRACT section 5: what is taken, how fast, and what an operator says meanwhile.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use dealix::queue::Queue;
use dealix::replay::{Done, Undone};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::desk::{audited, letters, look, message, order, order_with, push};
use crate::harness::{READER_KEY, TestApp, json as json_request};
use crate::redriver::{Redriver, completed, numbered};

const SECOND: Duration = Duration::from_secs(1);

#[sqlx::test(migrations = "./migrations")]
async fn a_redrive_takes_all_that_is_there_oldest_first_and_nothing_that_came_later(db: PgPool) {
    let desk = Redriver::start(db);
    let long_ago = message(&desk.app, "late");
    desk.owe(["a", "b"]).await;
    desk.owe_dead("c").await;
    let mut scheduled = message(&desk.app, "d");
    scheduled.next_attempt_at += chrono::TimeDelta::hours(1);
    push(&desk.app, Queue::Enrichment, &scheduled).await;
    order(&desk.app, Method::POST, "/enrichment/pause").await;

    let body = json!({ "reason": "the provider is back" });
    let ordered = order_with(&desk.app, Method::POST, "/enrichment/redrive", &body).await;
    assert_eq!(ordered.status, StatusCode::OK);
    let told = ordered.json();
    let id = told["id"].as_str().unwrap().to_owned();
    let now = json!(desk.app.clock.now());
    assert_eq!(
        told,
        json!({ "id": id, "queue": "enrichment", "status": "running", "matched": 4,
            "is_matched_exact": true, "succeeded": 0, "failed": 0, "held": 0, "remaining": 4,
            "stop_at_failure_percent": 50, "one_first": false, "created_at": now,
            "updated_at": now })
    );
    // Older than all of them, and yet too late.
    push(&desk.app, Queue::Enrichment, &long_ago).await;
    desk.run().await;
    assert_eq!(desk.tried(), ["a", "b", "c", "d"]);
    assert_eq!(desk.counts(&id).await, completed(4, 0, 0));
    assert_eq!(desk.show(&id).await["ended_at"], now);
    assert_eq!(desk.ids("ready").await, ["late"]);
    assert!(!desk.step().await, "it is over");

    let rows = audited(&desk.app, "dlq.redriven").await;
    assert_eq!(rows.len(), 1);
    let (_, subject, reason, before, after, _) = &rows[0];
    assert_eq!(*subject, format!("enrichment/redrive/{id}"));
    assert_eq!(reason.as_deref(), Some("the provider is back"));
    assert_eq!((&before["matched"], &after["one_first"]), (&json!(4), &json!(false)));
    assert_eq!(after["filter"]["states"], json!(["ready", "scheduled", "dead"]));
}

#[sqlx::test(migrations = "./migrations")]
async fn every_condition_of_a_redrive_counts(db: PgPool) {
    let desk = Redriver::start(db);
    let mut others = ["error", "source", "request", "group"].map(|id| message(&desk.app, id));
    others[0].error_class = "timeout".into();
    others[1].source = "crm".into();
    others[2].request_id = "request-7".into();
    others[3].error = "something else entirely".into();
    for letter in &others {
        push(&desk.app, Queue::Enrichment, letter).await;
    }
    desk.app.clock.advance(100 * SECOND);
    desk.owe_dead("dead").await;
    desk.owe(["plain"]).await;
    let groups = look(&desk.app, "/enrichment/groups").await.json();
    let of_group = |group: &&Value| group["sample_error"] == "something else entirely";
    let groups = groups["groups"].as_array().unwrap();
    let group = groups.iter().find(of_group).unwrap()["fingerprint"].clone();
    for (filter, expected) in [
        (json!({ "state": "dead" }), vec!["dead"]),
        (json!({ "error": "timeout" }), vec!["error"]),
        (json!({ "source": "crm", "error": "timeout" }), vec![]),
        (json!({ "source": "crm" }), vec!["source"]),
        (json!({ "request_id": "request-7", "state": "ready" }), vec!["request"]),
        (json!({ "group": group, "state": "dead" }), vec![]),
        (json!({ "group": group }), vec!["group"]),
        (json!({ "older_than_s": 50 }), vec![]),
        (json!({ "older_than_s": 0 }), vec!["plain"]),
    ] {
        let id = desk.order(&json!({ "filter": filter })).await;
        assert_eq!(desk.show(&id).await["matched"], expected.len(), "{filter}");
        desk.run().await;
        assert_eq!(desk.tried(), expected, "{filter}");
        assert_eq!(desk.counts(&id).await, completed(expected.len() as u64, 0, 0));
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn an_order_that_is_not_understood_is_refused(db: PgPool) {
    let app = TestApp::start(db);
    for (body, pointer) in [
        (json!({ "filter": { "state": "in_flight" } }), "/filter/state"),
        (json!({ "filter": { "state": "all" } }), "/filter/state"),
        (json!({ "filter": { "error": "" } }), "/filter/error"),
        (json!({ "filter": { "group": "x".repeat(201) } }), "/filter/group"),
        (json!({ "filter": { "older_than_s": u64::MAX } }), "/filter/older_than_s"),
        (json!({ "rate_per_s": 0 }), "/rate_per_s"),
        (json!({ "rate_per_s": 10_001 }), "/rate_per_s"),
        (json!({ "stop_at_failure_percent": 101 }), "/stop_at_failure_percent"),
        (json!({ "reason": " " }), "/reason"),
    ] {
        let answer = order_with(&app, Method::POST, "/webhooks/redrive", &body).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request".into()),
            "{body}"
        );
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    // A misspelt condition must not become none.
    for body in [json!({ "filter": { "states": "dead" } }), json!({ "filtre": {} })] {
        let answer = order_with(&app, Method::POST, "/webhooks/redrive", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    let none = look(&app, "/webhooks/redrive").await.json();
    assert_eq!(none, json!({ "queue": "webhooks", "redrives": [] }));
}

#[sqlx::test(migrations = "./migrations")]
async fn what_fails_again_is_not_taken_twice_by_one_redrive(db: PgPool) {
    let desk = Redriver::start(db);
    desk.owe(["a", "b"]).await;
    desk.owe_dead("c").await;
    desk.judge(|letter| match letter.id.as_str() {
        "b" => Ok(Done::Elsewhere),
        _ => Err(Undone::failed("refused", "no")),
    });
    let id = desk.order(&json!({ "stop_at_failure_percent": 100 })).await;
    desk.run().await;
    desk.app.clock.advance(Duration::from_secs(100_000));
    desk.run().await;
    assert_eq!(desk.tried(), ["a", "b", "c"]);
    assert_eq!(desk.counts(&id).await, completed(1, 2, 0));
    // An attempt is an attempt: it counts, and a dead one has its next chance later, too.
    assert_eq!(desk.ids("ready").await, ["a", "c"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redrive_of_many_pages_takes_each_once(db: PgPool) {
    let desk = Redriver::start(db);
    let ids = numbered("job", 620);
    desk.owe(&ids).await;
    let id = desk.order(&json!({})).await;
    assert!(desk.step().await);
    let (status, _, counts) = desk.counts(&id).await;
    assert_eq!((status.as_str(), counts), ("running", [250, 0, 0, 370]));
    desk.run().await;
    assert_eq!(desk.tried_sorted(), ids);
    assert_eq!(desk.counts(&id).await, completed(620, 0, 0));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redrive_keeps_the_pace_that_was_ordered(db: PgPool) {
    let desk = Redriver::start(db);
    desk.owe(numbered("job", 40)).await;
    let id = desk.order(&json!({ "rate_per_s": 10 })).await;
    desk.run().await;
    assert_eq!(desk.tried().len(), 1);
    assert!(!desk.step().await);
    for _ in 0..3 {
        desk.app.clock.advance(SECOND);
        desk.run().await;
        assert_eq!(desk.tried().len(), 10);
    }
    // A long silence is not made up for, also by whoever comes behind another instance.
    desk.app.clock.advance(60 * SECOND);
    assert!(desk.another().step().await.unwrap());
    assert_eq!(desk.tried().len(), 9, "what was left");
    assert_eq!(desk.counts(&id).await, completed(40, 0, 0));
}

#[sqlx::test(migrations = "./migrations")]
async fn an_operator_lets_a_redrive_rest_and_go_on_and_end(db: PgPool) {
    let desk = Redriver::start(db);
    desk.owe(numbered("job", 4)).await;
    let id = desk.order(&json!({ "rate_per_s": 1 })).await;
    assert!(desk.step().await);
    for _ in 0..2 {
        assert_eq!(desk.say(&id, "pause").await.json()["status"], "paused");
    }
    desk.app.clock.advance(60 * SECOND);
    assert!(!desk.step().await, "it rests");
    assert_eq!(desk.say(&id, "resume").await.json()["status"], "running");
    assert!(desk.step().await);
    let cancelled = desk.cancel(&id).await.json();
    assert_eq!((&cancelled["status"], &cancelled["remaining"]), (&json!("cancelled"), &json!(1)));
    assert_eq!(cancelled["ended_at"], json!(desk.app.clock.now()));
    desk.app.clock.advance(60 * SECOND);
    assert!(!desk.step().await, "it is over");
    assert_eq!(desk.cancel(&id).await.status, StatusCode::OK);
    for word in ["pause", "resume"] {
        let refused = desk.say(&id, word).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "redrive-over".into()));
    }
    for (action, expected) in [
        ("dlq.redrive_paused", vec![("running", "paused"), ("paused", "paused")]),
        ("dlq.redrive_resumed", vec![("paused", "running")]),
        ("dlq.redrive_cancelled", vec![("running", "cancelled"), ("cancelled", "cancelled")]),
    ] {
        let rows = audited(&desk.app, action).await;
        let words: Vec<_> = rows.iter().map(|row| (&row.3["status"], &row.4["status"])).collect();
        let expected: Vec<_> = expected.into_iter().map(|(a, b)| (json!(a), json!(b))).collect();
        assert_eq!(words, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>(), "{action}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_queue_has_one_redrive_at_a_time(db: PgPool) {
    let desk = Redriver::start(db);
    desk.owe(["a"]).await;
    let first = desk.order(&json!({})).await;
    let second = order(&desk.app, Method::POST, "/enrichment/redrive").await;
    assert_eq!((second.status, second.code()), (StatusCode::CONFLICT, "redrive-active".into()));
    let elsewhere = order(&desk.app, Method::POST, "/outbound/redrive").await;
    assert_eq!(elsewhere.status, StatusCode::OK);
    let elsewhere = elsewhere.json()["id"].as_str().unwrap().to_owned();
    let missing = look(&desk.app, &format!("/enrichment/redrive/{elsewhere}")).await;
    assert_eq!(
        (missing.status, missing.code()),
        (StatusCode::NOT_FOUND, "redrive-not-found".into())
    );
    assert_eq!(desk.say("nonsense", "pause").await.code(), "redrive-not-found");
    desk.run().await;
    let second = desk.order(&json!({})).await;
    desk.run().await;
    let all = look(&desk.app, "/enrichment/redrive").await.json();
    let ids: Vec<_> = all["redrives"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
    assert_eq!(ids, [&json!(second), &json!(first)], "newest first");
    assert_eq!(
        audited(&desk.app, "dlq.redriven").await.len(),
        3,
        "what was refused is not audited"
    );
    let refused = desk.cancel(&first).await;
    assert_eq!(refused.code(), "redrive-over", "what is complete cannot be cancelled");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_read_only_key_looks_at_redrives_and_orders_none(db: PgPool) {
    let desk = Redriver::start(db);
    desk.owe(["a"]).await;
    let id = desk.order(&json!({})).await;
    let path = format!("/api/v1/admin/dlq/enrichment/redrive/{id}");
    assert_eq!(desk.app.get_as(READER_KEY, &path).await.status, StatusCode::OK);
    for (method, path) in [
        (Method::POST, "/api/v1/admin/dlq/enrichment/redrive".to_owned()),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/pause")),
        (Method::POST, format!("{path}/resume")),
    ] {
        let request = axum::http::Request::builder().method(method).uri(path);
        let request = json_request(request.header("x-api-key", READER_KEY), &json!({}));
        assert_eq!(desk.app.send(request).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(desk.show(&id).await["status"], "running");
    assert_eq!(
        letters(&desk.app).count(Queue::Enrichment, desk.app.clock.now()).await.unwrap().depth(),
        1
    );
}
