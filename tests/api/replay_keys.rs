//! `Idempotency-Key`, CONTRACT section 1, on an operator's replays.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use chrono::TimeDelta;
use dealix::queue::{Payload, Queue};
use dealix_sandbox::{Fault, Operation, Trouble};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::desk::{
    DLQ, audited, failed_sale, letter, letters, list, look, message, only_id, outcomes, push,
};
use crate::harness::{ADMIN_KEY, Answer, TestApp, json as json_request};
use crate::shop::Shop;
use crate::webhooks::event;

/// An order with a key.
async fn order(app: &TestApp, path: &str, key: &str) -> Answer {
    let request = Request::post(format!("{DLQ}{path}")).header("idempotency-key", key);
    app.send(request.header("x-api-key", ADMIN_KEY).body(Body::empty()).unwrap()).await
}

async fn order_because(app: &TestApp, path: &str, key: &str, reason: &str) -> Answer {
    let request = Request::post(format!("{DLQ}{path}")).header("idempotency-key", key);
    let body = json!({ "reason": reason });
    app.send(json_request(request.header("x-api-key", ADMIN_KEY), &body)).await
}

/// An event that only Redis took, and that moves nothing.
async fn owe_an_event(shop: &Shop, id: &str) {
    let mut body = event(&json!({ "type": "balance_transferred" }));
    body["id"] = json!(id);
    let received_at = shop.app.clock.now();
    let (event_id, body) = (id.to_owned(), body.to_string());
    let payload = Payload::Event { event_id, event_type: None, received_at, body };
    let owed = letter(&shop.app, &format!("moyasar:{id}"), payload);
    push(&shop.app, Queue::Webhooks, &owed).await;
}

async fn depth(shop: &Shop) -> Value {
    look(&shop.app, "/queues").await.json()["queues"]["webhooks"].clone()
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redrive_is_ordered_once_for_each_key_also_when_it_is_over(db: PgPool) {
    let shop = Shop::open(db).await;
    owe_an_event(&shop, "one").await;
    let first = order(&shop.app, "/webhooks/redrive", "a-key").await;
    assert_eq!((first.status, &first.json()["matched"]), (StatusCode::OK, &json!(1)));
    shop.run_jobs().await;
    assert_eq!(depth(&shop).await, json!(0));
    owe_an_event(&shop, "two").await;
    let again = order(&shop.app, "/webhooks/redrive", "a-key").await;
    assert_eq!((again.header("idempotent-replayed"), again.json()), ("true", first.json()));
    let other = order_because(&shop.app, "/webhooks/redrive", "a-key", "another order").await;
    assert_eq!(other.code(), "idempotency-key-reused");
    assert_eq!(shop.count("redrives").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_order_that_is_given_again_is_answered_again_and_carried_out_once(db: PgPool) {
    let shop = Shop::open(db).await;
    owe_an_event(&shop, "one").await;
    owe_an_event(&shop, "two").await;
    let first = order(&shop.app, "/webhooks/drain?limit=1", "a-key").await;
    assert_eq!((first.status, first.header("idempotent-replayed")), (StatusCode::OK, ""));
    assert_eq!(first.json()["processed"], 1);
    for _ in 0..3 {
        shop.advance(Duration::from_hours(7));
        let again = order(&shop.app, "/webhooks/drain?limit=1", "a-key").await;
        assert_eq!((again.status, again.header("idempotent-replayed")), (StatusCode::OK, "true"));
        assert_eq!(again.json(), first.json());
    }
    assert_eq!((depth(&shop).await, audited(&shop.app, "dlq.drained").await.len()), (json!(1), 1));
    // An empty body and one that says nothing are the same order.
    let request = Request::post(format!("{DLQ}/webhooks/drain?limit=1"));
    let request = request.header("idempotency-key", "a-key").header("x-api-key", ADMIN_KEY);
    let again = shop.app.send(json_request(request, &json!({}))).await;
    assert_eq!(again.header("idempotent-replayed"), "true");

    // The entry is gone when somebody asks once more what came of it.
    let path = "/webhooks/entries/moyasar:two/retry";
    let retried = order(&shop.app, path, "a-key").await;
    assert_eq!((&retried.json()["outcome"], depth(&shop).await), (&json!("succeeded"), json!(0)));
    let again = order(&shop.app, path, "a-key").await;
    assert_eq!((again.header("idempotent-replayed"), again.json()), ("true", retried.json()));
    assert_eq!(order(&shop.app, path, "another-key").await.code(), "entry-not-found");
    assert_eq!(audited(&shop.app, "dlq.retried").await.len(), 1);
    assert_eq!(shop.count("idempotency_keys").await, 2);

    shop.advance(Duration::from_hours(24));
    let anew = order(&shop.app, "/webhooks/drain?limit=1", "a-key").await;
    assert_eq!((anew.header("idempotent-replayed"), &anew.json()["processed"]), ("", &json!(0)));
}

#[sqlx::test(migrations = "./migrations")]
async fn another_order_under_the_same_key_is_422_and_replays_nothing(db: PgPool) {
    let shop = Shop::open(db).await;
    order(&shop.app, "/webhooks/drain?limit=1", "a-key").await;
    owe_an_event(&shop, "one").await;
    for path in ["/webhooks/drain?limit=2", "/webhooks/drain", "/analytics/drain?limit=1"] {
        let other = order(&shop.app, path, "a-key").await;
        assert_eq!(
            (other.status, other.code()),
            (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused".into()),
            "{path}"
        );
    }
    let other = order_because(&shop.app, "/webhooks/drain?limit=1", "a-key", "now it works").await;
    assert_eq!(other.code(), "idempotency-key-reused");
    assert_eq!(order(&shop.app, "/webhooks/drain", "no key").await.code(), "invalid-request");
    assert_eq!(depth(&shop).await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_rehearsal_needs_no_key_and_takes_none(db: PgPool) {
    let shop = Shop::open(db).await;
    for depth in 1..3 {
        owe_an_event(&shop, &format!("e{depth}")).await;
        let told = order(&shop.app, "/webhooks/drain?dry_run=true", "a-key").await;
        assert_eq!(told.header("idempotent-replayed"), "");
        assert_eq!(told.json()["rehearsed"], depth);
    }
    assert_eq!(shop.count("idempotency_keys").await, 0);
}

/// Waits until the provider was asked for a payment once more.
async fn until_asked(shop: &Shop, before: u64) {
    while shop.sandbox.ledger().requests("fetch_payment") == before {
        tokio::task::yield_now().await;
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn an_order_that_is_being_carried_out_is_in_progress(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = failed_sale(&shop).await;
    let latency = Trouble::Latency(Duration::from_millis(300));
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, latency));
    let asked = shop.sandbox.ledger().requests("fetch_payment");
    let drain = order(&shop.app, "/webhooks/drain", "a-key");
    let again = async {
        until_asked(&shop, asked).await;
        order(&shop.app, "/webhooks/drain", "a-key").await
    };
    let (drained, again) = tokio::join!(drain, again);
    assert_eq!(
        (again.status, again.code(), again.header("retry-after")),
        (StatusCode::CONFLICT, "request-in-progress".into(), "5")
    );
    assert_eq!(drained.json()["succeeded"], 1, "{drained:?}");
    assert_eq!(shop.look(&bought).await["status"], "paid");
    let again = order(&shop.app, "/webhooks/drain", "a-key").await;
    assert_eq!((again.header("idempotent-replayed"), again.json()), ("true", drained.json()));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_key_is_free_when_nobody_can_be_at_its_order_any_more(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = failed_sale(&shop).await;
    let id = only_id(&shop.app).await;
    let latency = Trouble::Latency(Duration::from_millis(300));
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, latency));
    let asked = shop.sandbox.ledger().requests("fetch_payment");
    // One that nobody expects any more, and that ends all the same.
    let late = order(&shop.app, "/webhooks/drain", "a-key");
    let again = async {
        until_asked(&shop, asked).await;
        shop.app.clock.advance(Duration::from_secs(39));
        let early = order(&shop.app, "/webhooks/drain", "a-key").await;
        shop.app.clock.advance(Duration::from_secs(1));
        (early, order(&shop.app, "/webhooks/drain", "a-key").await)
    };
    let (late, (early, anew)) = tokio::join!(late, again);
    assert_eq!(early.code(), "request-in-progress");
    assert_eq!((anew.status, anew.header("idempotent-replayed")), (StatusCode::OK, ""));
    assert_eq!((late.status, outcomes(&anew)[0].0.clone()), (StatusCode::OK, id));
    // Whose key it is now decides what is told; and the sale was made once.
    let told = order(&shop.app, "/webhooks/drain", "a-key").await;
    assert_eq!((told.header("idempotent-replayed"), told.json()), ("true", anew.json()));
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.count("payment_effects where effect = 'granted'").await, 1);
    assert_eq!(depth(&shop).await, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn what_is_refused_or_fails_keeps_no_key(db: PgPool) {
    let shop = Shop::open(db).await;
    let path = "/outbound/entries/job:1/retry";
    assert_eq!(order(&shop.app, path, "a-key").await.code(), "entry-not-found");
    assert_eq!(shop.count("idempotency_keys").await, 0);
    push(&shop.app, Queue::Outbound, &message(&shop.app, "job:1")).await;
    let take = async || {
        let (now, lease) = (shop.app.clock.now(), TimeDelta::seconds(30));
        letters(&shop.app).take(Queue::Outbound, now, lease, 1).await.unwrap()
    };
    assert_eq!(take().await.len(), 1);
    assert_eq!(order(&shop.app, path, "a-key").await.code(), "entry-in-flight");
    assert_eq!(shop.count("idempotency_keys").await, 0);

    // Somebody is faster after the order was written down.
    shop.advance(Duration::from_secs(31));
    let mut lock = shop.app.db.begin().await.unwrap();
    sqlx::query("lock table audit_log in exclusive mode").execute(&mut *lock).await.unwrap();
    let waits = "pg_locks where relation = 'audit_log'::regclass and not granted";
    let faster = async {
        while shop.count(waits).await == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(take().await.len(), 1);
        lock.rollback().await.unwrap();
    };
    let (slower, ()) = tokio::join!(order(&shop.app, path, "a-key"), faster);
    assert_eq!(slower.code(), "entry-in-flight");
    assert_eq!(shop.count("idempotency_keys").await, 0);

    shop.advance(Duration::from_secs(31));
    let held = order(&shop.app, path, "a-key").await;
    assert_eq!((held.header("idempotent-replayed"), &held.json()["outcome"]), ("", &json!("held")));
    let again = order(&shop.app, path, "a-key").await;
    assert_eq!((again.header("idempotent-replayed"), again.json()), ("true", held.json()));
    assert_eq!(list(&shop.app, "/outbound").await.len(), 1);
}
