//! Sentry's envelope endpoint.

use reqwest::Method;
use serde_json::json;
use url::Url;

use crate::harness::{Asked, answer};

const EVENT_ID: &str = "4c79f60c11214eb38604f4ae0781bfb2";

fn envelope() -> String {
    let event = json!({"event_id": EVENT_ID, "message": "it\nbroke", "level": "error"}).to_string();
    let session = json!({"sid": "1"}).to_string();
    format!(
        "{{\"event_id\":\"{EVENT_ID}\"}}\n{{\"type\":\"event\",\"length\":{}}}\n{event}\n{{\"type\":\"session\"}}\n{session}\n",
        event.len()
    )
}

#[tokio::test]
async fn an_envelope_to_the_dsn_is_stored_item_by_item() {
    let asked = Asked::start().await;
    let dsn = Url::parse(&asked.sandbox.sentry_dsn()).unwrap();
    let path = format!("api{}/envelope/", dsn.path());
    let auth =
        format!("Sentry sentry_key={}, sentry_version=7, sentry_client=test/1", dsn.username());
    let request = asked.request(Method::POST, &path).header("x-sentry-auth", auth);
    let (status, body) = answer(request.body(envelope()).send().await.unwrap()).await;
    assert_eq!((status, body), (200, json!({"id": EVENT_ID})));
    let ledger = asked.sandbox.ledger();
    let kinds: Vec<&str> = ledger.sentry_items().iter().map(|item| item.kind.as_str()).collect();
    assert_eq!(kinds, ["event", "session"]);
    let event = ledger.sentry_events().next().unwrap();
    assert_eq!(event.event_id.as_deref(), Some(EVENT_ID));
    assert_eq!(event.payload["message"], "it\nbroke");
}

#[tokio::test]
async fn the_key_may_also_be_in_the_query_or_in_the_envelope() {
    let asked = Asked::start().await;
    let dsn = asked.sandbox.sentry_dsn();
    let key = Url::parse(&dsn).unwrap().username().to_owned();
    let by_query = asked.request(Method::POST, &format!("api/1/envelope/?sentry_key={key}"));
    assert_eq!(by_query.body(envelope()).send().await.unwrap().status(), 200);
    let body = format!("{}\n{{\"type\":\"event\"}}\n{{}}", json!({"dsn": dsn}));
    let by_dsn = asked.request(Method::POST, "api/1/envelope/").body(body);
    assert_eq!(by_dsn.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_wrong_key_a_wrong_project_and_a_broken_envelope_are_refused() {
    let asked = Asked::start().await;
    let key = Url::parse(&asked.sandbox.sentry_dsn()).unwrap().username().to_owned();
    let truncated = "{}\n{\"type\":\"event\",\"length\":99}\n{}".to_owned();
    for (path, body, expected) in [
        ("api/1/envelope/?sentry_key=other".to_owned(), envelope(), 403),
        ("api/1/envelope/".to_owned(), envelope(), 403),
        (format!("api/2/envelope/?sentry_key={key}"), envelope(), 400),
        (format!("api/1/envelope/?sentry_key={key}"), "not an envelope".to_owned(), 400),
        (format!("api/1/envelope/?sentry_key={key}"), truncated, 400),
    ] {
        let response = asked.request(Method::POST, &path).body(body).send().await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
    }
    assert_eq!(asked.sandbox.counts().sentry_items, 0);
}
