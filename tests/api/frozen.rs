//! Frozen stores: health answers from memory, nothing hangs behind another, and all recovers.

use std::time::Duration;

use axum::http::StatusCode;
use dealix_sandbox::{Options, Sandbox};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::harness::TestApp;
use crate::health::{AT_ONCE, check, checked};
use crate::proxy::Proxy;
use crate::shop::Shop;

#[sqlx::test(migrations = "./migrations")]
async fn a_frozen_postgres_is_a_timeout_and_recovers_within_one_round(db: PgPool) {
    let (postgres, url) = Proxy::to_postgres(&db).await;
    // Few, so that a handful that hangs would exhaust them.
    let connections = ("DATABASE_MAX_CONNECTIONS", "2");
    let app = TestApp::start_alone(&[("DATABASE_URL", &url), connections]);
    assert_eq!(checked(&app).await.json()["status"], "ok");

    postgres.freeze();
    for _ in 0..3 {
        let began = Instant::now();
        app.app.check_health().await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    let began = Instant::now();
    let deep = app.get("/health/deep").await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(deep.status, StatusCode::SERVICE_UNAVAILABLE);
    let deep = deep.json();
    let timeout = json!({ "status": "fail", "ms": null, "age_ms": 0, "error": "timeout" });
    assert_eq!(check(&deep, "postgres"), &timeout);
    assert_eq!(check(&deep, "redis")["status"], "ok");

    postgres.thaw();
    let deep = checked(&app).await;
    assert_eq!(deep.status, StatusCode::OK, "{deep:?}");
    assert_eq!(app.get("/ready").await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_frozen_redis_is_a_timeout_and_recovers_within_one_round(db: PgPool) {
    let (redis, url) = Proxy::to_redis().await;
    let app = TestApp::start_with(db, &[("REDIS_URL", &url)]);
    assert_eq!(checked(&app).await.json()["status"], "ok");

    redis.freeze();
    for _ in 0..3 {
        app.app.check_health().await;
    }
    let began = Instant::now();
    let deep = app.get("/health/deep").await;
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(deep.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(check(&deep.json(), "redis")["error"], "timeout");
    assert_eq!(check(&deep.json(), "postgres")["status"], "ok");
    // Webhooks are taken without Redis, and so is everything else.
    assert_eq!(app.get("/ready").await.status, StatusCode::OK);

    redis.thaw();
    assert_eq!(checked(&app).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn stores_recover_within_one_round_although_every_old_connection_is_dead(db: PgPool) {
    let (postgres, database_url) = Proxy::to_postgres(&db).await;
    let (redis, redis_url) = Proxy::to_redis().await;
    let app = TestApp::start_alone(&[
        ("DATABASE_URL", &database_url),
        ("DATABASE_MAX_CONNECTIONS", "2"),
        ("REDIS_URL", &redis_url),
    ]);
    assert_eq!(checked(&app).await.json()["status"], "ok");
    postgres.freeze();
    redis.freeze();
    for _ in 0..3 {
        app.app.check_health().await;
    }
    postgres.thaw_for_new_connections();
    redis.thaw_for_new_connections();
    let deep = checked(&app).await;
    assert_eq!(deep.json()["status"], "ok", "{deep:?}");
}

#[sqlx::test(migrations = "./migrations")]
async fn everything_frozen_at_once_holds_up_no_answer_and_recovers(db: PgPool) {
    let (postgres, database_url) = Proxy::to_postgres(&db).await;
    let (redis, redis_url) = Proxy::to_redis().await;
    let world = Sandbox::start(Options::default()).await.unwrap();
    let app = TestApp::start_alone(&[
        ("DATABASE_URL", &database_url),
        ("REDIS_URL", &redis_url),
        ("MOYASAR_BASE_URL", world.moyasar_url().as_str()),
        ("MOYASAR_SECRET_KEY", world.secret_key()),
        ("POSTHOG_HOST", world.posthog_url().as_str()),
        ("POSTHOG_API_KEY", world.posthog_key()),
    ]);
    postgres.freeze();
    redis.freeze();
    world.freeze();
    let began = Instant::now();
    app.app.check_health().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for path in ["/health", "/health/deep"] {
        let began = Instant::now();
        app.get(path).await;
        assert!(began.elapsed() < AT_ONCE, "{path}: {:?}", began.elapsed());
    }
    let deep = app.get("/health/deep").await.json();
    for name in ["postgres", "redis", "moyasar", "posthog", "migrations"] {
        assert_eq!(check(&deep, name)["error"], "timeout", "{name}");
    }

    postgres.thaw();
    redis.thaw();
    world.thaw();
    // The outside services are left alone for a minute.
    app.clock.advance(Duration::from_mins(1));
    let deep = checked(&app).await;
    assert_eq!(deep.status, StatusCode::OK);
    assert_eq!(deep.json()["status"], "ok", "{deep:?}");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_callback_is_200_in_time_while_postgres_is_frozen(db: PgPool) {
    let (postgres, url) = Proxy::to_postgres(&db).await;
    let shop = Shop::open_alone(&[("DATABASE_URL", &url)]).await;
    shop.buy().await;
    let real = shop.sandbox.ledger().invoices()[0].callback_url.clone().unwrap();
    let real = real.strip_prefix("http://127.0.0.1:8001").unwrap();
    postgres.freeze();
    for path in [real, "/api/v1/webhooks/moyasar/invoices/guess"] {
        let began = Instant::now();
        assert_eq!(shop.app.post(path, json!({})).await.status, StatusCode::OK);
        assert!(began.elapsed() < Duration::from_secs(2), "{path}: {:?}", began.elapsed());
    }
}
