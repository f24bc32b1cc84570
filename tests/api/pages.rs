//! Pages for people: where the buyer returns to.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use dealix_sandbox::cards;
use sqlx::PgPool;

use crate::harness::TestApp;
use crate::shop::{Bought, Shop};

async fn page(shop: &Shop, bought: &Bought, lang: &str) -> String {
    let answer = shop.app.get(&format!("/checkout/{}?lang={lang}", bought.checkout_id)).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header("content-type").starts_with("text/html"));
    assert_eq!(answer.header("content-language"), lang);
    answer.text().to_owned()
}

#[sqlx::test(migrations = "./migrations")]
async fn the_page_shows_the_state_in_arabic_from_right_to_left_and_in_english(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    assert!(page(&shop, &bought, "en").await.contains("Waiting for your payment"));
    shop.pay(&bought, cards::MADA_DECLINED).await;
    shop.settle().await;
    let declined = page(&shop, &bought, "en").await;
    assert!(declined.contains("The last attempt was declined") && declined.contains("DECLINED"));
    assert!(declined.contains("Continue to payment") && declined.contains(&bought.invoice_id));
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    let english = page(&shop, &bought, "en").await;
    assert!(
        english.contains("<html lang=\"en\" dir=\"ltr\">")
            && english.contains("Payment successful")
    );
    assert!(english.contains("2026-02-02") && !english.contains("Continue to payment"));
    let arabic = page(&shop, &bought, "ar").await;
    assert!(arabic.contains("<html lang=\"ar\" dir=\"rtl\">") && arabic.contains("تم الدفع بنجاح"));
}

#[sqlx::test(migrations = "./migrations")]
async fn the_page_speaks_the_buyers_language_by_itself(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let answer = shop.app.get(&format!("/checkout/{}", bought.checkout_id)).await;
    assert_eq!(answer.header("content-language"), "en");
    let order = crate::shop::order_with(&serde_json::json!({ "locale": "ar" }));
    let started = shop.app.post("/api/v1/pricing/checkout", order).await.json();
    let path = format!("/checkout/{}", started["checkout_id"].as_str().unwrap());
    assert_eq!(shop.app.get(&path).await.header("content-language"), "ar");
}

#[sqlx::test(migrations = "./migrations")]
async fn the_page_runs_our_own_script_and_style_only(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let answer = shop.app.get(&format!("/checkout/{}", bought.checkout_id)).await;
    let policy = answer.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"));
    for name in ["page.css", "checkout.js", "icon.svg"] {
        assert!(answer.text().contains(&format!("/static/{name}")));
        assert_eq!(shop.app.get(&format!("/static/{name}")).await.status, StatusCode::OK);
    }
    assert_eq!(shop.app.get("/static/nothing.js").await.status, StatusCode::NOT_FOUND);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_checkout_that_nobody_started_has_a_page_that_says_so(db: PgPool) {
    let app = TestApp::start(db);
    let request = Request::get("/checkout/1").header("accept-language", "ar");
    let answer = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.text().contains("لا توجد عملية بهذا الرقم"));
}

#[sqlx::test(migrations = "./migrations")]
async fn what_the_bank_says_cannot_run_in_the_page(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    sqlx::query("update checkouts set last_attempt_status = 'failed', last_attempt_message = '<script>alert(1)</script>'")
        .execute(&shop.app.db)
        .await
        .unwrap();
    assert!(!page(&shop, &bought, "en").await.contains("<script>alert"));
}
