//! A provider that answers what a sound one never would: nothing of it is believed, and a person hears.

use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;
use url::form_urlencoded;

use crate::shop::{Shop, order};

/// Makes the invoice `inv-1`, and whoever asks for it is answered like that.
async fn selling(db: PgPool, status: StatusCode, answer: Value) -> (Shop, JoinSet<()>) {
    let made = json!({
        "id": "inv-1", "status": "initiated", "amount": 99_000, "currency": "SAR",
        "url": "http://127.0.0.1/invoices/inv-1", "payments": [],
    });
    let routes = Router::new()
        .route("/v1/invoices", post(async move || (StatusCode::CREATED, made.to_string())))
        .route("/v1/invoices/{id}", get(async move || (status, answer.to_string())));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (Shop::open_with(db, &[("MOYASAR_BASE_URL", &url)]).await, serving)
}

fn paid(invoice: &str) -> Value {
    json!({
        "id": "pay-2", "status": "paid", "amount": 99_000, "currency": "SAR",
        "invoice_id": invoice, "created_at": "2026-01-02T03:04:10Z",
    })
}

#[sqlx::test(migrations = "./migrations")]
async fn another_invoice_than_was_asked_for_pays_and_ends_nothing(db: PgPool) {
    for status in ["paid", "expired"] {
        let other = json!({ "id": "inv-2", "status": status, "payments": [paid("inv-2")] });
        let (shop, _serving) = selling(db.clone(), StatusCode::OK, other).await;
        let bought = shop.buy().await;
        shop.advance(Duration::from_secs(11));
        shop.look(&bought).await;
        shop.run_jobs().await;
        assert_eq!(shop.look(&bought).await["status"], "pending");
        assert_eq!(shop.count("payments").await, 0);
        assert_eq!(shop.count("checkouts where look_failures = 1").await, 1);
        sqlx::query("truncate checkouts cascade").execute(&db).await.unwrap();
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_payment_that_names_another_invoice_is_for_a_person(db: PgPool) {
    let answer = json!({ "id": "inv-1", "status": "initiated", "payments": [paid("inv-2")] });
    let (shop, _serving) = selling(db, StatusCode::OK, answer).await;
    let bought = shop.buy().await;
    for _ in 0..3 {
        shop.advance(Duration::from_secs(11));
        shop.look(&bought).await;
        shop.run_jobs().await;
    }
    assert_eq!(shop.look(&bought).await["status"], "pending");
    assert_eq!(shop.count("payments").await, 0);
    let difference = "it stands in invoice inv-1 and names another as its own";
    assert_eq!(shop.reviews().await, [("strange_payment".to_owned(), difference.to_owned())]);
}

#[sqlx::test(migrations = "./migrations")]
async fn what_the_provider_never_tells_is_for_a_person_two_days_after_its_time(db: PgPool) {
    let without_id = json!({ "id": "inv-1", "status": "paid", "payments": [{ "status": "paid" }] });
    for (status, answer) in [
        (StatusCode::NOT_FOUND, json!({ "type": "invalid_request_error" })),
        (StatusCode::OK, without_id),
    ] {
        let (shop, _serving) = selling(db.clone(), status, answer).await;
        shop.buy().await;
        for _ in 0..71 {
            shop.advance(Duration::from_hours(1));
            shop.run_jobs().await;
        }
        assert_eq!(shop.reviews().await, []);
        shop.advance(Duration::from_hours(1));
        shop.run_jobs().await;
        let kinds: Vec<_> = shop.reviews().await.into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["unreadable_checkout"]);
        assert_eq!(shop.count("checkouts where status = 'pending' and look_at is null").await, 1);
        sqlx::query("truncate checkouts, reviews cascade").execute(&db).await.unwrap();
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_key_that_was_revoked_says_nothing_of_a_checkout(db: PgPool) {
    let (shop, _serving) = selling(db, StatusCode::UNAUTHORIZED, json!({})).await;
    shop.buy().await;
    for _ in 0..100 {
        shop.advance(Duration::from_hours(1));
        shop.run_jobs().await;
    }
    assert_eq!(shop.reviews().await, []);
    assert_eq!(shop.count("checkouts where look_at is not null").await, 1);
}

/// Answers the request for an invoice with a failure, and finds these invoices whenever it is asked for
/// those of a checkout; says that there are more.
async fn finding(db: PgPool, found: Value, next_page: Option<u8>) -> (Shop, JoinSet<()>) {
    let list = move |uri: Uri| async move {
        let query = form_urlencoded::parse(uri.query().unwrap().as_bytes());
        let (_, checkout) = query.into_iter().find(|(name, _)| name.starts_with("meta")).unwrap();
        let mut invoices = found;
        for invoice in invoices.as_array_mut().unwrap() {
            invoice["metadata"] = json!({ "checkout_id": checkout });
        }
        json!({ "invoices": invoices, "meta": { "next_page": next_page } }).to_string()
    };
    let fails = async || StatusCode::INTERNAL_SERVER_ERROR;
    let routes = Router::new().route("/v1/invoices", post(fails).get(list));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (Shop::open_with(db, &[("MOYASAR_BASE_URL", &url)]).await, serving)
}

fn page(id: &str, amount: i64) -> Value {
    let url = format!("http://127.0.0.1/invoices/{id}");
    json!({ "id": id, "status": "initiated", "amount": amount, "currency": "SAR", "url": url })
}

#[sqlx::test(migrations = "./migrations")]
async fn a_strange_invoice_that_a_request_finds_beside_a_good_one_is_for_a_person(db: PgPool) {
    let found = json!([page("good", 99_000), page("strange", 100)]);
    let (shop, _serving) = finding(db, found, None).await;
    assert_eq!(shop.buy().await.invoice_id, "good");
    let difference = "invoice strange names the checkout and is not what was asked for";
    assert_eq!(shop.reviews().await, [("strange_invoice".to_owned(), difference.to_owned())]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_search_that_is_cut_short_never_says_that_there_is_no_invoice(db: PgPool) {
    let (shop, _serving) = finding(db, json!([]), Some(2)).await;
    let answer = shop.order_once("key", &order()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    shop.advance(Duration::from_mins(2));
    shop.run_jobs().await;
    assert_eq!(shop.order_once("key", &order()).await.code(), "request-in-progress");
    for _ in 0..71 {
        shop.advance(Duration::from_hours(1));
        shop.run_jobs().await;
        assert_eq!(shop.statuses().await, ["opening"]);
    }
    assert_eq!(shop.reviews().await, []);
    shop.advance(Duration::from_hours(2));
    shop.run_jobs().await;
    let kinds: Vec<_> = shop.reviews().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["unreadable_checkout"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn what_a_search_finds_before_it_is_cut_short_is_sold(db: PgPool) {
    let (shop, _serving) = finding(db, json!([page("good", 99_000)]), Some(2)).await;
    assert_eq!(shop.buy().await.invoice_id, "good");
}
