//! A provider whose answers make no sense: nobody's attempts are burnt, and a person is told.

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::shop::{Bought, Shop};
use crate::webhooks::event;

/// A provider that makes one invoice and shows one payment of it.
async fn provider(changes: Value) -> String {
    let mut payment = json!({
        "id": "pay-1", "status": "paid", "amount": 99_000, "currency": "SAR", "invoice_id": "inv-1",
    });
    payment.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let invoice = json!({
        "id": "inv-1", "status": "initiated", "amount": 99_000, "currency": "SAR",
        "url": "https://example.com/pay", "payments": [],
    });
    let routes = Router::new()
        .route("/v1/invoices", post(async move || axum::Json(invoice)))
        .route("/v1/payments/pay-1", get(async move || axum::Json(payment)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

/// A checkout whose payment is shown with these changes, after one event of it.
async fn settled(db: PgPool, changes: Value) -> (Shop, Bought) {
    let url = provider(changes).await;
    let shop = Shop::open_with(db, &[("MOYASAR_BASE_URL", &url)]).await;
    let bought = shop.buy().await;
    shop.deliver(&event(&json!({ "data": { "id": "pay-1" } }))).await;
    shop.run_jobs().await;
    assert_eq!(shop.count("webhook_events where status = 'done'").await, 1);
    (shop, bought)
}

/// Too many random letters to be compressed into a key.
fn endless() -> String {
    let mut seed = 88_172_645_463_325_252_u64;
    let letter = |_| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        char::from(b'!' + u8::try_from(seed % 90).unwrap())
    };
    (0..9_000).map(letter).collect()
}

#[sqlx::test(migrations = "./migrations")]
async fn an_endless_currency_is_held_for_a_person(db: PgPool) {
    let (shop, bought) = settled(db, json!({ "currency": endless() })).await;
    assert_eq!(shop.look(&bought).await["status"], "review");
    let difference = format!("billed in SAR, charged in {}", &endless()[..64]);
    assert_eq!(shop.reviews().await, [("currency_mismatch".into(), difference)]);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_endless_status_is_for_a_person(db: PgPool) {
    let (shop, bought) = settled(db, json!({ "status": endless() })).await;
    assert_eq!(shop.look(&bought).await["status"], "pending");
    let difference = format!("the payment is `{}`, whatever that is", &endless()[..64]);
    assert_eq!(shop.reviews().await, [("unknown_status".into(), difference)]);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_endless_message_of_the_bank_is_shown_in_part(db: PgPool) {
    let declined = json!({ "status": "failed", "source": { "message": endless() } });
    let (shop, bought) = settled(db, declined).await;
    assert_eq!(shop.look(&bought).await["last_attempt"]["message"], endless()[..500]);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_endless_invoice_id_is_none(db: PgPool) {
    let (shop, _) = settled(db, json!({ "invoice_id": endless() })).await;
    let difference = "the payment was made without an invoice".to_owned();
    assert_eq!(shop.reviews().await, [("unknown_invoice".into(), difference)]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_payment_that_began_before_its_checkout_pays_from_the_checkout_on(db: PgPool) {
    for time in ["2010-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "-262143-01-01T00:00:00Z"] {
        sqlx::query("truncate checkouts, webhook_events, payments, subscriptions cascade")
            .execute(&db)
            .await
            .unwrap();
        let times = json!({ "created_at": time, "updated_at": time, "captured_at": time });
        let (shop, bought) = settled(db.clone(), times).await;
        let shown = shop.look(&bought).await;
        assert_eq!(shown["paid_at"], "2026-01-02T03:04:05Z", "{time}");
        let a_month = json!({ "status": "active", "current_period_end": "2026-02-02T03:04:05Z" });
        assert_eq!(shown["subscription"], a_month, "{time}");
    }
}
