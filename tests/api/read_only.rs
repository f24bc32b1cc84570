//! A key that may only read: what it asks for changes nothing, whatever route there is.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use dealix_sandbox::{Fault, Twist, cards};
use serde_json::json;
use sqlx::PgPool;

use crate::dead_letters::DeadLetters;
use crate::harness::{ADMIN_KEY, METHODS, READER_KEY, json as json_body};
use crate::shop::Shop;

/// Everything that Postgres and the queue hold, row for row, without what proves that analytics hears
/// us: whoever looks whether it does sends it a probe, and that is all he does.
async fn everything(shop: &Shop) -> Vec<(String, Vec<String>)> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select tablename::text from pg_tables where schemaname = 'public' order by tablename",
    )
    .fetch_all(&shop.app.db)
    .await
    .unwrap();
    let mut all = Vec::new();
    for table in tables {
        let rows = format!("select row::text from {table} row order by row::text");
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(&shop.app.db).await;
        let mut rows: Vec<String> = rows.unwrap();
        rows.retain(|row| table != "outbox" || !row.contains(",ops_probe,"));
        all.push((table, rows));
    }
    let letters = DeadLetters::of(&shop.app).all();
    all.push(("letters".into(), letters.iter().map(|it| format!("{it:?}")).collect()));
    all
}

/// A shop in which something happened in every corner: a sale, a payment held for a person, an event
/// that nobody could settle.
async fn busy_shop(db: PgPool) -> Shop {
    let shop = Shop::open(db).await;
    let sold = shop.buy().await;
    shop.pay(&sold, cards::MADA_APPROVED).await;
    let odd = shop.buy().await;
    shop.sandbox.fault(Fault::payment(Twist::Charge { amount: Some(100), currency: None }).once());
    shop.pay(&odd, cards::MADA_APPROVED).await;
    shop.settle().await;
    let unsettled = shop.buy().await;
    shop.pay(&unsettled, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    DeadLetters::of(&shop.app).put("moyasar:broken", b"{}");
    shop
}

/// What a caller who may do everything could send: bodies that would be accepted, all in one.
fn ask(method: &Method, url: &str, key: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(url).header("x-api-key", key);
    if *method == Method::GET {
        return request.body(Body::empty()).unwrap();
    }
    json_body(request, &json!({ "resolution": "refunded", "reason": "by hand", "state": "open" }))
}

#[sqlx::test(migrations = "./migrations")]
async fn a_read_only_key_can_change_nothing(db: PgPool) {
    let shop = busy_shop(db).await;
    let review = shop.app.get_as(READER_KEY, "/api/v1/admin/reviews").await.json();
    let review = review["reviews"][0]["id"].as_str().unwrap().to_owned();
    let before = everything(&shop).await;
    for table in ["audit_log", "checkouts", "letters", "reviews", "webhook_events"] {
        assert!(before.iter().any(|(name, rows)| name == table && !rows.is_empty()), "{table}");
    }
    let document = shop.app.get("/openapi.json").await.json();
    let (mut refused, mut read) = (0, 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        let url = path.replace("{id}", &review).replace(['{', '}'], "");
        for method in METHODS {
            let operation = item.get(method.as_str().to_lowercase());
            // Without a scope: for anybody, whatever key he holds.
            let Some(scope) = operation.and_then(|it| it["security"][0]["api_key"][0].as_str())
            else {
                continue;
            };
            let answer = shop.app.send(ask(&method, &url, READER_KEY)).await;
            if method == Method::GET && scope == "admin:read" {
                assert_ne!(answer.status, StatusCode::FORBIDDEN, "{method} {path}");
                read += 1;
            } else {
                let found = (answer.status, answer.code());
                assert_eq!(found, (StatusCode::FORBIDDEN, "forbidden".into()), "{method} {path}");
                assert_eq!(answer.header("content-type"), "application/problem+json");
                refused += 1;
            }
            assert_eq!(everything(&shop).await, before, "{method} {path}");
        }
    }
    assert!(refused >= 3 && read >= 2, "{refused} refused, {read} read");
    // The same with a key that may, and it is seen.
    let resolve = format!("/api/v1/admin/reviews/{review}/resolve");
    let answer = shop.app.send(ask(&Method::POST, &resolve, ADMIN_KEY)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_ne!(everything(&shop).await, before);
}
