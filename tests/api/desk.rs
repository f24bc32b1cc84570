//! `Desk`: an operator at the dead-letter queues of one test, and letters put there past the service.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use dealix::queue::{Extra, Letter, Letters, Payload, Queue, Redis};
use dealix_sandbox::{Fault, Operation, Trouble, cards};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{
    ADMIN_KEY, Answer, READER_KEY, TestApp, json as json_request, redis_prefix, redis_url,
};
use crate::shop::{Bought, Shop};

pub const DLQ: &str = "/api/v1/admin/dlq";

/// What an operator asks; every answer is held against the document.
pub async fn look(app: &TestApp, path: &str) -> Answer {
    app.get_as(READER_KEY, &format!("{DLQ}{path}")).await
}

/// What an operator orders, without a body.
pub async fn order(app: &TestApp, method: Method, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(format!("{DLQ}{path}"));
    app.send(request.header("x-api-key", ADMIN_KEY).body(Body::empty()).unwrap()).await
}

/// What an operator orders, with one.
pub async fn order_with(app: &TestApp, method: Method, path: &str, body: &Value) -> Answer {
    let request = Request::builder().method(method).uri(format!("{DLQ}{path}"));
    app.send(json_request(request.header("x-api-key", ADMIN_KEY), body)).await
}

/// The queues of the test, past the service.
pub fn letters(app: &TestApp) -> Letters {
    let database = app.db.connect_options().get_database().unwrap().to_owned();
    let redis = Redis::new(&redis_url().into()).unwrap();
    Letters::new(redis, &redis_prefix(database), Uuid::new_v4(), "test")
}

/// Something that is owed, and due at once.
pub fn letter(app: &TestApp, id: &str, payload: Payload) -> Letter {
    let now = app.clock.now();
    Letter {
        id: id.to_owned(),
        source: "mailer".to_owned(),
        error: "the mail server refused it".to_owned(),
        error_class: "refused".to_owned(),
        attempt: 0,
        max_retries: 5,
        created_at: now,
        last_attempt_at: None,
        next_attempt_at: now,
        request_id: format!("request-of-{id}"),
        trace_id: None,
        payload,
        body_sha256: None,
        is_changed: false,
        original: None,
        extra: Extra::default(),
    }
}

/// A message to a person that could not be sent.
pub fn message(app: &TestApp, id: &str) -> Letter {
    let body = r#"{"to":"sara@example.com", "name":"سارة","amount":1.50,"status":"new"}"#;
    letter(app, id, Payload::Job { body: body.to_owned() })
}

/// Puts a letter into a queue.
pub async fn push(app: &TestApp, queue: Queue, letter: &Letter) {
    letters(app).push(queue, letter, app.clock.now()).await.unwrap();
}

/// A sale whose webhook was stored, and failed five times; its letter waits.
pub async fn failed_sale(shop: &Shop) -> Bought {
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    shop.settle().await;
    for _ in 1..5 {
        shop.advance(Duration::from_secs(145));
        shop.settle().await;
    }
    shop.sandbox.clear_faults();
    bought
}

/// The entries of a queue, as they are listed.
pub async fn list(app: &TestApp, path: &str) -> Vec<Value> {
    let answer = look(app, path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["entries"].as_array().unwrap().clone()
}

/// The outcomes of a drain, by id.
pub fn outcomes(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let body = answer.json();
    let items = body["items"].as_array().unwrap();
    items.iter().map(|item| (text(&item["id"]), text(&item["outcome"]))).collect()
}

/// The audit rows of one kind: actor, subject, reason, before, after, request id.
pub async fn audited(
    app: &TestApp,
    action: &str,
) -> Vec<(String, String, Option<String>, Value, Value, String)> {
    sqlx::query_as(
        "select actor, subject, reason, coalesce(before, 'null'), coalesce(after, 'null'), request_id
         from audit_log where action = $1 order by id",
    )
    .bind(action)
    .fetch_all(&app.db)
    .await
    .unwrap()
}

/// The one id in `webhooks`, as it stands in a path.
pub async fn only_id(app: &TestApp) -> String {
    let all = list(app, "/webhooks").await;
    assert_eq!(all.len(), 1, "{}", json!(all));
    all[0]["id"].as_str().unwrap().to_owned()
}
