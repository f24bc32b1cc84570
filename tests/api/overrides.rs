//! What operators tell circuit breakers, CONTRACT section 6: to be open or closed for a while, or to
//! begin anew.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{ADMIN_KEY, Answer, READER_KEY, SERVICE_KEY, TestApp};
use crate::shop::Shop;

const BREAKERS: &str = "/api/v1/admin/circuit-breakers";
const OPEN: &str = "/api/v1/admin/circuit-breakers/moyasar/open";
const CLOSE: &str = "/api/v1/admin/circuit-breakers/moyasar/close";
const RESET: &str = "/api/v1/admin/circuit-breakers/moyasar/reset";

fn for_secs(ttl_s: i64) -> Value {
    json!({ "reason": "their status page says so", "ttl_s": ttl_s })
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
    app.get_as(READER_KEY, BREAKERS).await.json()["breakers"]["moyasar"].clone()
}

async fn change(app: &TestApp, path: &str, body: Value) -> Value {
    let answer = app.post_as(ADMIN_KEY, path, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

/// A service whose payment provider is on a port where nobody listens.
fn app_without_gateway(db: PgPool) -> TestApp {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = format!("http://{}/v1/", listener.local_addr().unwrap());
    let variables =
        [("MOYASAR_SECRET_KEY", "sk_test_a-key-of-nobody"), ("MOYASAR_BASE_URL", &*gateway)];
    TestApp::start_with(db, &variables)
}

/// A second instance on the same database, with connections of its own.
async fn another_instance(app: &TestApp) -> TestApp {
    TestApp::start(PgPool::connect_with((*app.db.connect_options()).clone()).await.unwrap())
}

#[sqlx::test(migrations = "./migrations")]
async fn held_open_it_answers_at_once_until_its_time_is_over(db: PgPool) {
    let shop = Shop::open(db).await;
    let held = change(&shop.app, OPEN, for_secs(600)).await;
    assert_eq!((&held["state"], &held["forced"]), (&json!("open"), &json!("open")));
    assert_eq!(held["forced_until"], "2026-01-02T03:14:05Z");
    assert_eq!(held["retry_at"], held["forced_until"]);
    assert_eq!(held["opened_at"], "2026-01-02T03:04:05Z");
    let told = json!([{
        "at": "2026-01-02T03:04:05Z", "from": "closed", "to": "open", "cause": "forced_open",
    }]);
    assert_eq!(held["transitions"], told);
    assert_eq!(moyasar(&shop.app).await, held);

    let refused = check_out(&shop.app).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.header("retry-after"), "60", "it may be let go at any time");
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 0);

    shop.advance(Duration::from_secs(600));
    let own = moyasar(&shop.app).await;
    assert_eq!((&own["state"], own.get("forced")), (&json!("closed"), None));
    assert_eq!(own["transitions"][1]["cause"], "override_ended");
    assert_eq!(check_out(&shop.app).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn held_closed_every_call_goes_out_and_afterwards_it_is_where_it_was(db: PgPool) {
    let app = app_without_gateway(db);
    for _ in 0..5 {
        assert_eq!(check_out(&app).await.status, StatusCode::BAD_GATEWAY);
    }
    assert_eq!(check_out(&app).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let held = change(&app, CLOSE, for_secs(30)).await;
    assert_eq!((&held["state"], &held["forced"]), (&json!("closed"), &json!("closed")));
    for _ in 0..7 {
        assert_eq!(check_out(&app).await.status, StatusCode::BAD_GATEWAY, "it went out");
    }
    assert_eq!(moyasar(&app).await["failure_count"], 12, "and people see how it goes");
    app.clock.advance(Duration::from_secs(30));
    assert_eq!(check_out(&app).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(moyasar(&app).await["retry_at"], "2026-01-02T03:05:05Z");
    app.clock.advance(Duration::from_secs(30));
    assert_eq!(moyasar(&app).await["state"], "half_open");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_reset_closes_it_and_ends_an_override_whatever_the_body_is_called(db: PgPool) {
    let app = app_without_gateway(db);
    for _ in 0..5 {
        check_out(&app).await;
    }
    let as_new = change(&app, RESET, json!({ "reason": "they say that it is over" })).await;
    assert_eq!((&as_new["state"], &as_new["failure_count"]), (&json!("closed"), &json!(0)));
    assert_eq!((&as_new["calls_in_window"], as_new.get("opened_at")), (&json!(0), None));
    assert_eq!(as_new["transitions"][1]["cause"], "reset");

    for content_type in [None, Some("application/x-www-form-urlencoded"), Some("text/plain")] {
        change(&app, OPEN, for_secs(86_400)).await;
        let mut request = Request::post(RESET).header("x-api-key", ADMIN_KEY);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = app.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.json().get("forced"), None);
        assert_eq!(answer.json()["state"], "closed");
    }
    let request = Request::post(RESET).header("x-api-key", ADMIN_KEY);
    let answer = app.send(request.body("why=because".into()).unwrap()).await;
    assert_eq!(answer.code(), "unsupported-media-type");
    let answer = app.post_as(ADMIN_KEY, RESET, json!({ "reason": " " })).await;
    assert_eq!(answer.json()["errors"][0]["pointer"], "/reason");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_override_needs_a_reason_an_end_within_a_day_and_a_breaker(db: PgPool) {
    let app = TestApp::start(db);
    let faults = async |body: Value| {
        let answer = app.post_as(ADMIN_KEY, CLOSE, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
        let errors = answer.json()["errors"].as_array().unwrap().clone();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(faults(json!({})).await, ["/reason", "/ttl_s"]);
    assert_eq!(faults(json!({ "reason": " ", "ttl_s": 60 })).await, ["/reason"]);
    assert_eq!(faults(json!({ "reason": "a".repeat(1_001), "ttl_s": 60 })).await, ["/reason"]);
    for ttl_s in [json!(0), json!(-1), json!(86_401), json!(1.5), json!("60"), json!(1_u64 << 63)] {
        assert_eq!(faults(json!({ "reason": "why", "ttl_s": ttl_s })).await, ["/ttl_s"]);
    }
    let empty = Request::post(OPEN).header("x-api-key", ADMIN_KEY).body(Body::empty()).unwrap();
    assert_eq!(app.send(empty).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for ttl_s in [1, 86_400] {
        assert_eq!(change(&app, CLOSE, for_secs(ttl_s)).await["forced"], "closed");
    }
    for verb in ["open", "close", "reset"] {
        let path = format!("{BREAKERS}/nobody/{verb}");
        let answer = app.post_as(ADMIN_KEY, &path, for_secs(60)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::NOT_FOUND, "breaker-not-found".into())
        );
    }
    let words: i64 =
        sqlx::query_scalar("select count(*) from audit_log").fetch_one(&app.db).await.unwrap();
    assert_eq!(words, 2, "what was refused is no change");
}

#[sqlx::test(migrations = "./migrations")]
async fn who_may_only_read_overrides_nothing(db: PgPool) {
    let app = TestApp::start(db);
    for path in [OPEN, CLOSE, RESET] {
        assert_eq!(app.post(path, for_secs(60)).await.status, StatusCode::UNAUTHORIZED);
        for key in [READER_KEY, SERVICE_KEY] {
            let answer = app.post_as(key, path, for_secs(60)).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
        }
    }
    assert_eq!(moyasar(&app).await["transitions"], json!([]));
}

#[sqlx::test(migrations = "./migrations")]
async fn every_override_is_in_the_audit_with_what_was_before_and_after(db: PgPool) {
    let app = TestApp::start(db);
    change(&app, OPEN, for_secs(600)).await;
    change(&app, CLOSE, for_secs(60)).await;
    let answer = app.post_as(ADMIN_KEY, RESET, json!({})).await;
    let row = "select to_jsonb(audit_log) from audit_log order by id";
    let rows: Vec<Value> = sqlx::query_scalar(row).fetch_all(&app.db).await.unwrap();
    let actions: Vec<_> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["breaker.opened", "breaker.closed", "breaker.reset"]);
    for row in &rows {
        assert_eq!(row["subject"], "moyasar");
        assert!(row["actor"].as_str().unwrap().starts_with("key:"), "{row}");
    }
    assert_eq!(rows[0]["reason"], "their status page says so");
    assert_eq!(rows[2]["reason"], Value::Null);
    let state = |forced: Option<&str>, until: Option<&str>, resets: i64| json!({ "forced": forced, "forced_until": until, "resets": resets });
    let open = state(Some("open"), Some("2026-01-02T03:14:05Z"), 0);
    let closed = state(Some("closed"), Some("2026-01-02T03:05:05Z"), 0);
    assert_eq!((&rows[0]["before"], &rows[0]["after"]), (&state(None, None, 0), &open));
    assert_eq!((&rows[1]["before"], &rows[1]["after"]), (&open, &closed));
    assert_eq!((&rows[2]["before"], &rows[2]["after"]), (&closed, &state(None, None, 1)));
    assert_eq!(rows[2]["request_id"], answer.header("x-request-id"));
}

#[sqlx::test(migrations = "./migrations")]
async fn every_instance_follows_also_one_that_starts_later(db: PgPool) {
    let app = TestApp::start(db);
    let other = another_instance(&app).await;
    other.app.follow_overrides().await.unwrap();
    change(&app, OPEN, for_secs(600)).await;
    assert_eq!(moyasar(&other).await["state"], "closed");
    other.app.follow_overrides().await.unwrap();
    let followed = moyasar(&other).await;
    assert_eq!((&followed["state"], &followed["forced"]), (&json!("open"), &json!("open")));
    assert_eq!(followed["forced_until"], "2026-01-02T03:14:05Z");
    let late = another_instance(&app).await;
    late.app.follow_overrides().await.unwrap();
    assert_eq!(moyasar(&late).await["forced"], "open");

    // The other one says the next word, and the first follows.
    change(&other, CLOSE, for_secs(60)).await;
    app.app.follow_overrides().await.unwrap();
    assert_eq!(moyasar(&app).await["forced"], "closed");
    change(&app, RESET, json!({})).await;
    other.app.follow_overrides().await.unwrap();
    assert_eq!(moyasar(&other).await.get("forced"), None);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_reset_reaches_every_instance_that_was_there(db: PgPool) {
    let app = app_without_gateway(db);
    change(&app, RESET, json!({})).await;
    let other = app_without_gateway(
        PgPool::connect_with((*app.db.connect_options()).clone()).await.unwrap(),
    );
    for _ in 0..5 {
        check_out(&other).await;
    }
    other.app.follow_overrides().await.unwrap();
    assert_eq!(moyasar(&other).await["state"], "open", "it was said before this one began");
    change(&app, RESET, json!({})).await;
    other.app.follow_overrides().await.unwrap();
    let as_new = moyasar(&other).await;
    assert_eq!((&as_new["state"], &as_new["calls_in_window"]), (&json!("closed"), &json!(0)));
}

#[sqlx::test(migrations = "./migrations")]
async fn without_postgres_the_last_known_override_stays_until_its_time_is_over(db: PgPool) {
    let app = TestApp::start(db);
    let other = another_instance(&app).await;
    change(&app, OPEN, for_secs(600)).await;
    other.app.follow_overrides().await.unwrap();
    other.db.close().await;
    assert!(other.app.follow_overrides().await.is_err());
    other.clock.advance(Duration::from_secs(599));
    assert_eq!(moyasar(&other).await["forced"], "open");
    other.clock.advance(Duration::from_secs(1));
    assert_eq!(moyasar(&other).await.get("forced"), None);

    let answer = other.post_as(ADMIN_KEY, OPEN, for_secs(600)).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable".into())
    );
    assert_eq!(moyasar(&other).await["state"], "closed", "what is not kept is not in force");
}

#[sqlx::test(migrations = "./migrations")]
async fn of_operators_at_once_one_comes_after_the_other_and_all_are_in_the_audit(db: PgPool) {
    let app = TestApp::start(db);
    let other = another_instance(&app).await;
    let resets = (0..20).map(|number| {
        let app = if number % 2 == 0 { &app } else { &other };
        app.post_as(ADMIN_KEY, RESET, json!({}))
    });
    for answer in join_all(resets).await {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    let rows: Vec<(Value, Value)> =
        sqlx::query_as("select before, after from audit_log").fetch_all(&app.db).await.unwrap();
    let numbers: BTreeSet<_> = rows
        .iter()
        .map(|(before, after)| {
            (before["resets"].as_i64().unwrap(), after["resets"].as_i64().unwrap())
        })
        .collect();
    assert_eq!(numbers, (0..20).map(|number| (number, number + 1)).collect());
}
