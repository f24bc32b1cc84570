//! What the predecessors got wrong, each with the opposite outcome. The faults that other files show
//! already are named in docs/contract-coverage.md.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use futures_util::stream;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{ADMIN_KEY, METHODS, TestApp, WEBHOOK_SECRET};
use crate::shop::{Shop, order};

const WEBHOOK: &str = "/api/v1/webhooks/moyasar";
const CHECKOUT: &str = "/api/v1/pricing/checkout";

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(body.into()).unwrap()
}

#[sqlx::test(migrations = "./migrations")]
async fn no_webhook_body_is_our_fault_however_odd(db: PgPool) {
    let shop = Shop::open(db).await;
    for body in ["[]", "\"x\"", "null", "1", "", "{", "\u{feff}{}", "[{}]"] {
        let answer = shop.app.send(post(WEBHOOK, body)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, "invalid-json".into())
        );
        assert_eq!(answer.json()["detail"], "invalid_json", "{body}");
    }
    for token in [json!("ключ"), json!(null), json!(7), json!(["x"]), json!({}), json!("")] {
        let body = json!({ "id": "e", "type": "payment_paid", "secret_token": token });
        let answer = shop.app.send(post(WEBHOOK, body.to_string())).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNAUTHORIZED, "bad-signature".into())
        );
    }
    for (number, payment) in [
        json!({ "id": "pay_1", "metadata": null }),
        json!({ "id": "pay_2", "amount": "99000" }),
        json!({ "id": "pay_3", "metadata": 7, "amount": -1.5 }),
        json!({ "id": "pay_4", "metadata": ["x"], "amount": null, "status": 1 }),
        json!(null),
        json!([]),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("event-{number}");
        let event = json!({ "id": id, "type": "payment_paid", "data": payment });
        let answer = shop.deliver(&event).await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (StatusCode::OK, &json!("ok")),
            "{id}"
        );
    }
    assert_eq!(shop.count("webhook_events").await, 6);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_body_of_20_megabytes_is_refused_and_not_even_read(db: PgPool) {
    let app = TestApp::start(db);
    let length = 20 * 1024 * 1024;
    for path in [WEBHOOK, CHECKOUT] {
        // A body that fails the test when anybody reads it to its end.
        let chunk = || Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]);
        let pieces = (0..).map(move |at| {
            assert!(at * 64 < 1024, "more than a megabyte was read");
            chunk()
        });
        let answer = app.send(post(path, Body::from_stream(stream::iter(pieces)))).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::PAYLOAD_TOO_LARGE, "payload-too-large".into())
        );
        let mut declared = post(path, "{}");
        declared.headers_mut().insert("content-length", length.into());
        assert_eq!(app.send(declared).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn without_a_signature_or_a_secret_nothing_counts_as_paid(db: PgPool) {
    let event = |token: Value| json!({ "id": "e", "type": "payment_paid", "secret_token": token });
    let forgeries = [
        json!({ "id": "e", "type": "payment_paid", "data": { "id": "p", "status": "paid" } }),
        event(json!("")),
        event(json!(WEBHOOK_SECRET.to_uppercase())),
        event(json!(&WEBHOOK_SECRET[1..])),
    ];
    for secret in [WEBHOOK_SECRET, ""] {
        let app = TestApp::start_with(db.clone(), &[("MOYASAR_WEBHOOK_SECRET", secret)]);
        for forgery in &forgeries {
            let answer = app.send(post(WEBHOOK, forgery.to_string())).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{forgery}");
        }
        // The predecessor took a header for a signature.
        let mut signed = post(WEBHOOK, forgeries[0].to_string());
        signed.headers_mut().insert("x-moyasar-signature", WEBHOOK_SECRET.parse().unwrap());
        assert_eq!(app.send(signed).await.status, StatusCode::UNAUTHORIZED);
    }
    let stored: i64 =
        sqlx::query_scalar("select count(*) from webhook_events").fetch_one(&db).await.unwrap();
    assert_eq!(stored, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn with_no_keys_set_every_guarded_route_is_closed(db: PgPool) {
    let none = [("API_KEYS", ""), ("ADMIN_READ_API_KEYS", ""), ("ADMIN_API_KEYS", "")];
    let app = TestApp::start_with(db, &none);
    let document = app.get("/openapi.json").await.json();
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            let Some(operation) = item.get(method.as_str().to_lowercase()) else { continue };
            if operation.get("security").is_none() {
                continue;
            }
            tried += 1;
            for key in ["", " ", "None", "null", ADMIN_KEY] {
                let path = path.replace(['{', '}'], "");
                let request = Request::builder().method(method.clone()).uri(path);
                let request = request.header("x-api-key", key).body(Body::empty()).unwrap();
                assert_eq!(app.send(request).await.status, StatusCode::UNAUTHORIZED);
            }
        }
    }
    assert!(tried >= 4, "only {tried} operations are guarded");
}

#[sqlx::test(migrations = "./migrations")]
async fn monitors_and_browsers_are_answered_without_a_key(db: PgPool) {
    let app = TestApp::start(db);
    for (method, path, status) in [
        (Method::HEAD, "/health", StatusCode::OK),
        (Method::GET, "/healthz", StatusCode::OK),
        (Method::HEAD, "/healthz", StatusCode::OK),
        (Method::OPTIONS, "/api/v1/checkout", StatusCode::OK),
        (Method::OPTIONS, "/api/v1/admin/circuit-breakers", StatusCode::OK),
    ] {
        let request = Request::builder().method(&method).uri(path);
        let request = request
            .header("origin", "https://dealix.me")
            .header("access-control-request-method", "POST");
        let answer = app.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_checkout_of_invalid_json_is_a_problem_and_not_ours(db: PgPool) {
    let shop = Shop::open(db).await;
    for body in ["{", "{\"plan_id\":}", "plan_id=starter", "", "{}{}", "{'plan_id':'starter'}"] {
        let answer = shop.app.send(post(CHECKOUT, body)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, "invalid-json".into())
        );
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let answer = shop.app.post(CHECKOUT, order()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn ready_is_not_said_while_the_stores_are_down(_db: PgPool) {
    let nowhere =
        [("DATABASE_URL", "postgres://127.0.0.1:1/nowhere"), ("REDIS_URL", "redis://127.0.0.1:1")];
    let app = TestApp::start_alone(&nowhere);
    app.app.check_health().await;
    let answer = app.get("/ready").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json(), json!({ "status": "not_ready", "reason": "postgres" }));
    assert_eq!(app.get("/api/v1/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
}
