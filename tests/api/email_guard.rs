//! The guard of one e-mail address: counted in the checkout's transaction.

use std::time::Duration;

use axum::http::StatusCode;
use dealix_sandbox::{Fault, Operation, Trouble};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{ADMIN_KEY, SERVICE_KEY};
use crate::shop::{Shop, order, order_with};

const CHECKOUT: &str = "/api/v1/pricing/checkout";
const TEN: (&str, &str) = ("CHECKOUTS_PER_EMAIL_HOURLY", "10");

#[sqlx::test(migrations = "./migrations")]
async fn an_address_starts_ten_checkouts_an_hour_and_is_told_when_to_come_back(db: PgPool) {
    let shop = Shop::open_with(db, &[TEN]).await;
    for _ in 0..10 {
        assert_eq!(shop.app.post(CHECKOUT, order()).await.status, StatusCode::OK);
        shop.advance(Duration::from_mins(1));
    }
    let shouted = order_with(&json!({ "customer_email": "BUYER@EXAMPLE.COM" }));
    let answer = shop.app.post(CHECKOUT, shouted.clone()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::TOO_MANY_REQUESTS, "rate-limited".into())
    );
    assert_eq!(answer.header("retry-after"), "3000");
    // The budget that is spent, and not the client address's, which is not.
    assert_eq!(answer.header("ratelimit-policy"), r#""email";q=10;w=3600"#);
    assert_eq!(answer.header("ratelimit"), r#""email";r=0;t=3000"#);
    let metrics = shop.app.get_as(ADMIN_KEY, "/metrics").await;
    assert!(metrics.text().contains(r#"dealix_rate_limited_total{policy="email"} "#));
    assert_eq!(shop.count("checkouts").await, 10);
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 10);

    let other = order_with(&json!({ "customer_email": "other@example.com" }));
    assert_eq!(shop.app.post(CHECKOUT, other).await.status, StatusCode::OK);
    let service = json!({ "plan": "starter", "email": "buyer@example.com" });
    let answer = shop.app.post_as(SERVICE_KEY, "/api/v1/checkout", service).await;
    assert_eq!(answer.status, StatusCode::OK, "our services are not guarded");

    shop.advance(Duration::from_secs(2_999));
    let answer = shop.app.post(CHECKOUT, shouted.clone()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    shop.advance(Duration::from_secs(1));
    assert_eq!(shop.app.post(CHECKOUT, shouted).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn of_many_at_once_ten_pass(db: PgPool) {
    let shop = Shop::open_with(db, &[TEN]).await;
    let answers = join_all((0..30).map(|_| shop.app.post(CHECKOUT, order()))).await;
    let passed = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!((passed, shop.count("checkouts").await), (10, 10));
}

#[sqlx::test(migrations = "./migrations")]
async fn whoever_is_refused_keeps_the_key_for_later_and_replays_do_not_count(db: PgPool) {
    let shop = Shop::open_with(db, &[("CHECKOUTS_PER_EMAIL_HOURLY", "1")]).await;
    assert_eq!(shop.order_once("first", &order()).await.status, StatusCode::OK);
    assert_eq!(shop.order_once("first", &order()).await.status, StatusCode::OK);
    assert_eq!(shop.order_once("second", &order()).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(shop.count("idempotency_keys").await, 1);
    shop.advance(Duration::from_hours(1));
    assert_eq!(shop.order_once("second", &order()).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn checkouts_that_came_to_nothing_do_not_count(db: PgPool) {
    let shop = Shop::open_with(db, &[("CHECKOUTS_PER_EMAIL_HOURLY", "1")]).await;
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::status(400)).once());
    assert_eq!(shop.app.post(CHECKOUT, order()).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(shop.app.post(CHECKOUT, order()).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_guard_can_be_switched_off(db: PgPool) {
    let off = ("ABUSE_GUARDS_ENABLED", "false");
    let shop = Shop::open_with(db, &[("CHECKOUTS_PER_EMAIL_HOURLY", "1"), off]).await;
    for _ in 0..3 {
        assert_eq!(shop.app.post(CHECKOUT, order()).await.status, StatusCode::OK);
    }
}
