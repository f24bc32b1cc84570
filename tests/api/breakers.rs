//! `/api/v1/admin/circuit-breakers`: what an operator sees when an outside service fails.

use std::net::TcpListener;
use std::time::Duration;

use axum::http::StatusCode;
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{ADMIN_KEY, Answer, READER_KEY, SERVICE_KEY, TestApp};

const BREAKERS: &str = "/api/v1/admin/circuit-breakers";

/// The service with a payment provider on a port where nobody listens.
fn app_without_gateway(db: PgPool) -> TestApp {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = format!("http://{}/v1/", listener.local_addr().unwrap());
    TestApp::start_with(
        db,
        &[("MOYASAR_SECRET_KEY", "sk_test_a-key-of-nobody"), ("MOYASAR_BASE_URL", &gateway)],
    )
}

async fn check_out(app: &TestApp) -> Answer {
    let order = json!({
        "plan_id": "starter",
        "customer_name": "A customer",
        "customer_email": "customer@example.com",
    });
    app.post("/api/v1/pricing/checkout", order).await
}

async fn moyasar(app: &TestApp) -> Value {
    let answer = app.get_as(READER_KEY, BREAKERS).await.json();
    answer.pointer("/breakers/moyasar").unwrap().clone()
}

#[sqlx::test]
async fn every_breaker_is_listed_as_soon_as_its_client_exists(db: PgPool) {
    let answer = TestApp::start(db).get_as(READER_KEY, BREAKERS).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_json_snapshot!(answer.json(), @r#"
    {
      "breakers": {
        "moyasar": {
          "calls_in_window": 0,
          "failure_count": 0,
          "failure_rate": 0.0,
          "failure_threshold": 5,
          "name": "moyasar",
          "recovery_timeout": 60,
          "slow_rate": 0.0,
          "state": "closed",
          "transitions": []
        },
        "posthog": {
          "calls_in_window": 0,
          "failure_count": 0,
          "failure_rate": 0.0,
          "failure_threshold": 5,
          "name": "posthog",
          "recovery_timeout": 60,
          "slow_rate": 0.0,
          "state": "closed",
          "transitions": []
        }
      }
    }
    "#);
}

#[sqlx::test]
async fn a_failing_gateway_opens_its_breaker_and_a_cooldown_later_it_is_half_open(db: PgPool) {
    let app = app_without_gateway(db);
    for _ in 0..5 {
        assert_eq!(check_out(&app).await.status, StatusCode::BAD_GATEWAY);
    }
    assert_json_snapshot!(moyasar(&app).await, @r#"
    {
      "calls_in_window": 5,
      "failure_count": 5,
      "failure_rate": 1.0,
      "failure_threshold": 5,
      "last_error": "unreachable: moyasar could not be reached",
      "name": "moyasar",
      "opened_at": "2026-01-02T03:04:05Z",
      "recovery_timeout": 60,
      "retry_at": "2026-01-02T03:05:05Z",
      "slow_rate": 0.0,
      "state": "open",
      "transitions": [
        {
          "at": "2026-01-02T03:04:05Z",
          "cause": "consecutive_failures",
          "from": "closed",
          "to": "open"
        }
      ]
    }
    "#);

    app.clock.advance(Duration::from_secs(20));
    let rejected = check_out(&app).await;
    assert_eq!(rejected.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rejected.code(), "upstream-unavailable");
    assert_eq!(rejected.header("retry-after"), "40");

    app.clock.advance(Duration::from_secs(40));
    let half_open = moyasar(&app).await;
    assert_eq!(half_open["state"], "half_open");
    assert_eq!(half_open["opened_at"], "2026-01-02T03:04:05Z");
    assert_eq!(half_open.get("retry_at"), None);
    assert_eq!(
        half_open["transitions"][1],
        json!({
            "at": "2026-01-02T03:05:05Z",
            "from": "open",
            "to": "half_open",
            "cause": "cooldown_over",
        })
    );

    assert_eq!(check_out(&app).await.status, StatusCode::BAD_GATEWAY, "this was the probe");
    let open = moyasar(&app).await;
    assert_eq!((&open["state"], &open["failure_count"]), (&json!("open"), &json!(6)));
}

#[sqlx::test]
async fn only_who_may_read_everything_sees_the_breakers(db: PgPool) {
    let app = TestApp::start(db);
    assert_eq!(app.get(BREAKERS).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(app.get_as(SERVICE_KEY, BREAKERS).await.status, StatusCode::FORBIDDEN);
    for key in [READER_KEY, ADMIN_KEY] {
        assert_eq!(app.get_as(key, BREAKERS).await.status, StatusCode::OK);
    }
}
