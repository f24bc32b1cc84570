//! `Idempotency-Key`, CONTRACT section 1, on both checkout routes.

use std::time::Duration;

use axum::http::{Request, StatusCode};
use dealix_sandbox::{Fault, Operation, Trouble};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{ADMIN_KEY, Answer, SERVICE_KEY, TestApp, json as json_request};
use crate::shop::{Shop, order, order_with};

const VISITORS: &str = "/api/v1/pricing/checkout";
const SERVICES: &str = "/api/v1/checkout";

async fn ask(app: &TestApp, path: &str, caller: &str, key: &str, body: &Value) -> Answer {
    let request = Request::post(path).header("idempotency-key", key).header("x-api-key", caller);
    app.send(json_request(request, body)).await
}

fn service_order() -> Value {
    json!({ "plan": "starter", "email": "buyer@example.com" })
}

#[sqlx::test(migrations = "./migrations")]
async fn the_same_key_and_payload_give_the_stored_answer_on_both_routes(db: PgPool) {
    let shop = Shop::open(db).await;
    for (path, body) in [(VISITORS, order()), (SERVICES, service_order())] {
        let first = ask(&shop.app, path, SERVICE_KEY, "a-key", &body).await;
        assert_eq!((first.status, first.header("idempotent-replayed")), (StatusCode::OK, ""));
        for _ in 0..3 {
            shop.advance(Duration::from_hours(7));
            let again = ask(&shop.app, path, SERVICE_KEY, "a-key", &body).await;
            assert_eq!(again.status, StatusCode::OK);
            assert_eq!(again.header("idempotent-replayed"), "true");
            assert_eq!(again.json(), first.json());
        }
    }
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 2);
    assert_eq!(shop.count("checkouts").await, 2);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_field_that_nobody_can_read_makes_no_two_orders_the_same(db: PgPool) {
    let shop = Shop::open(db).await;
    let text = |plan: &str| {
        let order = order_with(&json!({ "plan_id": plan })).to_string();
        order.replacen('{', r#"{"x":1e400,"#, 1)
    };
    let order = async |plan: &str| {
        let request = Request::post(VISITORS).header("idempotency-key", "a-key");
        let request = request.header("content-type", "application/json");
        shop.app.send(request.body(text(plan).into()).unwrap()).await
    };
    assert_eq!(order("starter").await.status, StatusCode::OK);
    assert_eq!(order("starter").await.header("idempotent-replayed"), "true");
    let other = order("growth").await;
    assert_eq!(
        (other.status, other.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused".into())
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn an_anonymous_key_gives_the_same_payment_page_again(db: PgPool) {
    let shop = Shop::open(db).await;
    let first = shop.order_once("a-key", &order()).await;
    // Blanks, the order of fields and a slash at the end say nothing else.
    let text = serde_json::to_string_pretty(&order()).unwrap();
    let request = Request::post(format!("{VISITORS}/"))
        .header("content-type", "application/json")
        .header("idempotency-key", "a-key");
    let again = shop.app.send(request.body(text.into()).unwrap()).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.json()["payment_url"], first.json()["payment_url"]);
    assert_eq!(shop.count("checkouts").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn another_payload_under_the_same_key_is_422(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.order_once("a-key", &order()).await;
    let other = order_with(&json!({ "plan_id": "growth" }));
    let answer = shop.order_once("a-key", &other).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused".into())
    );
    assert_eq!(answer.json()["retryable"], false);
    assert_eq!(shop.count("checkouts").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_key_belongs_to_its_caller_and_its_route(db: PgPool) {
    let shop = Shop::open(db).await;
    for (path, caller, body) in [
        (SERVICES, SERVICE_KEY, service_order()),
        (SERVICES, ADMIN_KEY, service_order()),
        (VISITORS, SERVICE_KEY, order()),
        (VISITORS, ADMIN_KEY, order()),
    ] {
        let answer = ask(&shop.app, path, caller, "a-key", &body).await;
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (StatusCode::OK, ""));
    }
    assert_eq!(shop.order_once("a-key", &order()).await.header("idempotent-replayed"), "");
    assert_eq!(shop.count("checkouts").await, 5);
}

#[sqlx::test(migrations = "./migrations")]
async fn many_at_once_with_the_same_key_buy_once(db: PgPool) {
    let shop = Shop::open(db).await;
    let order = order();
    let answers = join_all((0..20).map(|_| shop.order_once("a-key", &order))).await;
    let bought = answers.iter().filter(|answer| answer.status == StatusCode::OK);
    assert!(bought.count() >= 1);
    for answer in &answers {
        if answer.status != StatusCode::OK {
            assert_eq!(
                (answer.status, answer.code()),
                (StatusCode::CONFLICT, "request-in-progress".into())
            );
            assert_eq!(answer.header("retry-after"), "5");
        }
    }
    assert_eq!(shop.order_once("a-key", &order).await.header("idempotent-replayed"), "true");
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 1);
    assert_eq!(shop.count("checkouts").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn what_is_refused_before_the_claim_is_not_stored_and_its_key_may_be_used_again(db: PgPool) {
    let shop = Shop::open(db).await;
    for (changes, status) in [
        (json!({ "customer_email": "nobody" }), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({ "plan_id": "gold" }), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(shop.order_once("a-key", &order_with(&changes)).await.status, status);
    }
    for (key, body, status) in [
        ("wrong", service_order(), StatusCode::UNAUTHORIZED),
        (crate::harness::READER_KEY, service_order(), StatusCode::FORBIDDEN),
        (SERVICE_KEY, json!({ "plan": "gold", "email": "a@example.com" }), StatusCode::BAD_REQUEST),
        (SERVICE_KEY, json!({ "plan": "starter", "email": "no" }), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(ask(&shop.app, SERVICES, key, "a-key", &body).await.status, status);
    }
    assert_eq!(shop.count("idempotency_keys").await, 0);
    assert_eq!(shop.order_once("a-key", &order()).await.status, StatusCode::OK);
    let answer = ask(&shop.app, SERVICES, SERVICE_KEY, "a-key", &service_order()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_5xx_is_not_stored_and_the_same_key_may_try_again(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::status(400)).once());
    assert_eq!(shop.order_once("a-key", &order()).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(shop.statuses().await, ["refused"]);
    assert_eq!(shop.count("idempotency_keys").await, 0);
    let again = shop.order_once("a-key", &order()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (StatusCode::OK, ""));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_request_whose_process_died_is_in_progress_until_a_look_tells(db: PgPool) {
    let shop = Shop::open(db).await;
    // As it was when the process died: the intent and its key are written, and nothing else.
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::Reset).once());
    shop.order_once("a-key", &order()).await;
    for (seconds, retry_after) in [(0, "5"), (29, "5"), (1, "35"), (29, "6")] {
        shop.advance(Duration::from_secs(seconds));
        let answer = shop.order_once("a-key", &order()).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(answer.header("retry-after"), retry_after);
        assert_eq!(answer.json()["retryable"], true);
    }
    let other = order_with(&json!({ "plan_id": "growth" }));
    assert_eq!(shop.order_once("a-key", &other).await.code(), "idempotency-key-reused");
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_custom_plan_is_answered_the_same_again_and_a_missing_gateway_is_not(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let custom = order_with(&json!({ "plan_id": "enterprise" }));
    let first = shop.order_once("a-key", &custom).await;
    let again = shop.order_once("a-key", &custom).await;
    assert_eq!(again.json(), first.json());
    assert_eq!(
        (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
        ("", "true")
    );
    assert_eq!(shop.order_once("a-key", &order()).await.code(), "idempotency-key-reused");

    let closed = TestApp::start(db);
    let ask = async || {
        let request = Request::post(VISITORS).header("idempotency-key", "other-key");
        closed.send(json_request(request, &order())).await
    };
    for _ in 0..2 {
        let answer = ask().await;
        assert_eq!(answer.json()["status"], "checkout_unavailable");
        assert_eq!(answer.header("idempotent-replayed"), "");
    }
    // What can be sold later is sold later, and what was sold is still answered.
    let sold = shop.order_once("other-key", &order()).await;
    assert_eq!(sold.json()["status"], "invoice_created");
    assert_eq!(ask().await.json(), sold.json());
}

#[sqlx::test(migrations = "./migrations")]
async fn a_key_is_kept_for_24_hours_and_forgotten_afterwards(db: PgPool) {
    let shop = Shop::open(db).await;
    let first = shop.order_once("a-key", &order()).await;
    shop.order_once("other-key", &order()).await;
    shop.advance(Duration::from_secs(24 * 60 * 60 - 1));
    let again = shop.order_once("a-key", &order()).await;
    assert_eq!(again.header("idempotent-replayed"), "true");
    shop.run_jobs().await;
    assert_eq!(shop.count("idempotency_keys").await, 2);
    shop.advance(Duration::from_secs(1));
    let again = shop.order_once("a-key", &order()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (StatusCode::OK, ""));
    assert_ne!(again.json()["checkout_id"], first.json()["checkout_id"]);
    shop.run_jobs().await;
    assert_eq!(shop.count("idempotency_keys").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_key_itself_is_not_stored_and_neither_is_personal_data(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.order_once("a-very-secret-key", &order()).await;
    let row: String =
        sqlx::query_scalar("select row_to_json(held)::text from idempotency_keys held")
            .fetch_one(&shop.app.db)
            .await
            .unwrap();
    for text in ["a-very-secret-key", "xample.com", "512345678", "المثال"] {
        assert!(!row.contains(text), "{row}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_key_that_is_none_is_422_and_nothing_is_bought(db: PgPool) {
    let shop = Shop::open(db).await;
    let long = "k".repeat(256);
    for key in ["", "with blanks", long.as_str()] {
        let answer = shop.order_once(key, &order()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request".into())
        );
        assert_eq!(answer.json()["errors"][0]["pointer"], "/Idempotency-Key");
    }
    assert_eq!(shop.order_once(&long[..255], &order()).await.status, StatusCode::OK);
    assert_eq!(shop.count("checkouts").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_document_tells_of_the_key_and_of_replays(db: PgPool) {
    let document = TestApp::start(db).get("/openapi.json").await.json();
    let drain = "/api/v1/admin/dlq/{queue}/drain";
    let retry = "/api/v1/admin/dlq/{queue}/entries/{id}/retry";
    for path in [VISITORS, SERVICES, drain, retry] {
        let operation = &document["paths"][path]["post"];
        let mut parameters = operation["parameters"].as_array().unwrap().iter();
        let parameter = parameters.find(|it| it["name"] == "Idempotency-Key").unwrap();
        assert_eq!((&parameter["in"], &parameter["required"]), (&json!("header"), &json!(false)));
        assert!(operation["responses"]["200"]["headers"]["Idempotent-Replayed"].is_object());
        for (status, code) in [("409", "request-in-progress"), ("422", "idempotency-key-reused")] {
            let examples = &operation["responses"][status]["content"]["application/problem+json"];
            assert!(examples["examples"][code].is_object(), "{path} {status}");
        }
    }
}
