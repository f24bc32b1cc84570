//! The one screen, CONTRACT section 11.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use dealix_sandbox::{Fault, Operation, Trouble, Twist, cards};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::desk::{failed_sale, order_with};
use crate::harness::{NOW, READER_KEY, SERVICE_KEY, TestApp};
use crate::proxy::Proxy;
use crate::shop::Shop;

const STATUS: &str = "/api/v1/admin/status";

async fn status(app: &TestApp) -> Value {
    let answer = app.get_as(READER_KEY, STATUS).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

fn kinds(status: &Value) -> Vec<&str> {
    let problems = status["problems"].as_array().unwrap();
    problems.iter().map(|problem| problem["kind"].as_str().unwrap()).collect()
}

#[sqlx::test(migrations = "./migrations")]
async fn a_shop_in_which_all_is_well_says_so_in_both_languages(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    assert_eq!(
        status(&shop.app).await,
        json!({
            "status": "ok", "checked_at": NOW, "customers_at_risk": 0, "amount_halalas": 0,
            "amount_sar": 0, "message_en": "All is well.", "message_ar": "كل شيء على ما يرام.",
            "problems": [],
        })
    );
    assert_eq!(shop.app.get(STATUS).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(shop.app.get_as(SERVICE_KEY, STATUS).await.status, StatusCode::FORBIDDEN);
}

#[sqlx::test(migrations = "./migrations")]
async fn who_paid_and_got_nothing_is_named_with_the_sum_and_what_to_type(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.sandbox.fault(Fault::payment(Twist::Charge { amount: Some(100), currency: None }).once());
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    let status = status(&shop.app).await;
    assert_eq!(kinds(&status), ["paid_not_granted"]);
    let problem = &status["problems"][0];
    assert_eq!(problem["checkout_ids"], json!([bought.checkout_id]));
    assert_eq!((&problem["amount_halalas"], &problem["amount_sar"]), (&json!(100), &json!(1)));
    assert_eq!(problem["since"], NOW);
    assert_eq!(status["next_command"], format!("dealix-api explain {}", payment.id));
    assert_eq!((&status["status"], &status["customers_at_risk"]), (&json!("degraded"), &json!(1)));
    // Ids and sums, and nothing of the customer.
    let text = status.to_string().to_lowercase();
    assert!(!text.contains("example.com") && !text.contains("512345678"), "{text}");
}

#[sqlx::test(migrations = "./migrations")]
async fn money_that_waits_for_moyasar_is_counted_by_what_its_events_say(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)));
    shop.deliver_webhooks().await;
    for _ in 0..8 {
        shop.app.app.run_jobs_until_idle().await.unwrap();
        shop.advance(Duration::from_secs(30));
    }
    let status = status(&shop.app).await;
    assert_eq!(kinds(&status), ["events_waiting", "breaker_open"]);
    let waiting = &status["problems"][0];
    assert_eq!((&waiting["amount_sar"], &waiting["count"]), (&json!(990), &json!(1)));
    assert_eq!(waiting["checkout_ids"], json!([bought.checkout_id]));
    assert_eq!(status["problems"][1]["about"], "moyasar");
}

#[sqlx::test(migrations = "./migrations")]
async fn what_an_operator_has_laid_aside_is_no_problem_any_more(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    shop.advance(Duration::from_secs(60 * 60));
    assert!(kinds(&status(&shop.app).await).contains(&"events_waiting"));
    let purge = json!({ "reason": "settled by hand" });
    order_with(&shop.app, Method::POST, "/webhooks/purge", &purge).await;
    assert_eq!(kinds(&status(&shop.app).await), [""; 0]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_database_without_its_migrations_is_told_as_such(db: PgPool) {
    let app = TestApp::start(db);
    sqlx::query("delete from _sqlx_migrations where version = 20261120000012")
        .execute(&app.db)
        .await
        .unwrap();
    let status = status(&app).await;
    assert_eq!(kinds(&status), ["migrations_missing"]);
    assert_eq!(status["next_command"], "dealix-api migrate up");
}

#[sqlx::test(migrations = "./migrations")]
async fn stores_that_are_gone_or_frozen_are_problems_and_the_answer_comes_in_time(db: PgPool) {
    let gone = TestApp::start_alone(&[("REDIS_URL", "redis://127.0.0.1:1")]);
    let told = status(&gone).await;
    assert_eq!(kinds(&told), ["postgres_away", "redis_away"]);
    assert_eq!(told["status"], "fail");
    assert_eq!(told["next_command"], "sudo systemctl status postgresql");

    let (postgres, database) = Proxy::to_postgres(&db).await;
    let (redis, redis_url) = Proxy::to_redis().await;
    let app = TestApp::start_alone(&[("DATABASE_URL", &database), ("REDIS_URL", &redis_url)]);
    assert_eq!(kinds(&status(&app).await), Vec::<&str>::new());
    postgres.freeze();
    redis.freeze();
    let told = tokio::time::timeout(Duration::from_secs(2), status(&app)).await;
    let told = told.expect("an answer within two seconds");
    assert_eq!(kinds(&told), ["postgres_away", "redis_away"]);
    assert_eq!(told["problems"][1]["about"], "timeout");
    // Nobody knows how many and how much; that is not nothing.
    for unknown in ["customers_at_risk", "amount_halalas", "amount_sar"] {
        assert_eq!(told.get(unknown), Some(&Value::Null));
    }
}
