//! Frozen stores: health answers from memory, nothing hangs behind another, and all recovers.

use std::time::Duration;

use axum::http::StatusCode;
use dealix_sandbox::{Options, Sandbox, cards};
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

#[sqlx::test(migrations = "./migrations")]
async fn a_connection_that_is_lost_in_the_middle_of_a_step_is_noticed_long_before_the_step_ends(
    db: PgPool,
) {
    // Longer than noticing takes, shorter than what ends a step that hangs.
    let in_time = Duration::from_secs(12);
    let (postgres, url) = Proxy::to_postgres(&db).await;
    let few = ("DATABASE_MAX_CONNECTIONS", "2");
    let shop = Shop::open_alone(&[("DATABASE_URL", &url), few]).await;
    for is_told in [true, false] {
        let bought = shop.buy().await;
        shop.run_jobs().await;
        shop.pay(&bought, cards::MADA_APPROVED).await;
        if is_told {
            shop.deliver_webhooks().await;
        } else {
            drop(shop.sandbox.take_held_webhooks());
            shop.advance(Duration::from_secs(11));
            shop.look(&bought).await;
        }
        // What settles the payment has said that it is done, and hears nothing any more.
        postgres.freeze_at("COMMIT");
        let jobs = shop.app.app.run_jobs_until_idle();
        let outcome = tokio::time::timeout(in_time, jobs).await;
        assert!(outcome.expect("it hung").is_err(), "told: {is_told}");
        postgres.thaw_for_new_connections();
        // The server has not heard that anybody is gone, and keeps what the lost session has locked.
        let silence =
            "select setting from pg_settings where name = 'idle_in_transaction_session_timeout'";
        let silence: String = sqlx::query_scalar(silence).fetch_one(&shop.app.db).await.unwrap();
        assert_eq!(silence, "10000", "in milliseconds: by then it ends the session by itself");
        end_lost_sessions(&db).await;
        shop.advance(Duration::from_secs(60));
        shop.run_jobs().await;
        assert_eq!(shop.look(&bought).await["status"], "paid", "told: {is_told}");
    }
    assert_eq!(shop.sandbox.ledger().posthog_events_named("payment_succeeded").count(), 2);
}

/// Ends the sessions that wait in the middle of a transaction, as the server does when its patience ends.
async fn end_lost_sessions(db: &PgPool) {
    let end = "select count(*) filter (where pg_terminate_backend(pid, 10000)) from pg_stat_activity \
        where datname = current_database() and state = 'idle in transaction'";
    let ended: i64 = sqlx::query_scalar(end).fetch_one(db).await.unwrap();
    assert_eq!(ended, 1);
}
