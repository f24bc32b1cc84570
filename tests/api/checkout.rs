//! Buying, CONTRACT section 3: both checkout routes and where a checkout stands.

use std::time::Duration;

use axum::http::{Request, StatusCode};
use dealix_sandbox::{CardFlow, Fault, Operation, Service, Trouble, cards};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::{ADMIN_KEY, SERVICE_KEY, TestApp};
use crate::shop::{Shop, order, order_with};

const CHECKOUT: &str = "/api/v1/pricing/checkout";

#[sqlx::test(migrations = "./migrations")]
async fn a_checkout_answers_with_a_payment_page_at_the_price_of_the_catalogue(db: PgPool) {
    let shop = Shop::open(db).await;
    let changed = order_with(&json!({ "amount_halalas": 100, "price_sar": 1, "locale": "ar" }));
    let answer = shop.app.post(CHECKOUT, changed).await;
    assert_eq!(answer.status, StatusCode::OK);
    let started = answer.json();
    assert_eq!(started["status"], "invoice_created");
    assert_eq!((&started["amount_sar"], &started["amount_halalas"]), (&json!(990), &json!(99_000)));
    assert_eq!((&started["currency"], &started["plan"]), (&json!("SAR"), &json!("starter")));
    assert_eq!(started["expires_at"], "2026-01-03T03:04:05Z");
    let invoice = shop.sandbox.ledger().invoices()[0].clone();
    assert_eq!((invoice.amount, invoice.currency.as_str()), (99_000, "SAR"));
    assert_eq!(started["invoice_id"], invoice.id);
    assert_eq!(started["payment_url"], invoice.url);
    assert_eq!(invoice.description, "Dealix: الأساسية");
    let checkout_id = started["checkout_id"].as_str().unwrap();
    assert_eq!(invoice.metadata.unwrap()["checkout_id"], checkout_id);
    let page = format!("http://127.0.0.1:8001/checkout/{checkout_id}");
    assert_eq!((invoice.success_url, invoice.back_url), (Some(page.clone()), Some(page)));
}

#[sqlx::test(migrations = "./migrations")]
async fn the_provider_learns_nothing_of_the_customer(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.buy().await;
    let told = serde_json::to_string(shop.sandbox.ledger().invoices()).unwrap();
    for personal in ["المثال", "xample.com", "512345678"] {
        assert!(!told.contains(personal), "{personal}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_provider_that_refuses_ends_the_checkout(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::status(400)));
    let answer = shop.app.post(CHECKOUT, order()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::BAD_GATEWAY, "payment-gateway-error".into())
    );
    assert_eq!(shop.count("checkouts where status = 'refused'").await, 1);
    assert!(!answer.text().contains("validation"), "nothing of the provider's own words");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_open_breaker_answers_at_once_with_when_to_come_back(db: PgPool) {
    let shop = Shop::open(db).await;
    // Every request that is refused so is followed by a search, which fails as well.
    shop.sandbox.fault(Fault::before(Service::Moyasar, Trouble::status(500)));
    for _ in 0..3 {
        assert_eq!(shop.app.post(CHECKOUT, order()).await.status, StatusCode::BAD_GATEWAY);
    }
    let answer = shop.app.post(CHECKOUT, order()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "upstream-unavailable".into())
    );
    assert_eq!(answer.header("retry-after"), "60");
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 3);
    let service = json!({ "plan": "starter", "email": "a@example.com" });
    let answer = shop.app.post_as(SERVICE_KEY, "/api/v1/checkout", service).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);

    shop.sandbox.clear_faults();
    shop.advance(Duration::from_secs(60));
    assert_eq!(shop.app.post(CHECKOUT, order()).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_dead_database_is_503_and_the_provider_is_not_asked(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.app.db.close().await;
    let answer = shop.app.post(CHECKOUT, order()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable".into())
    );
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_custom_plan_is_for_people_to_agree_on(db: PgPool) {
    let shop = Shop::open(db).await;
    let answer = shop.app.post(CHECKOUT, order_with(&json!({ "plan_id": "enterprise" }))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!(body["status"], "contact_sales");
    assert!(body["message_ar"].is_string() && body["message_en"].is_string());
    assert_eq!(shop.count("checkouts").await, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn without_a_gateway_key_nothing_can_be_bought(db: PgPool) {
    let app = TestApp::start(db);
    let answer = app.post(CHECKOUT, order()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["status"], "checkout_unavailable");
    assert!(answer.json()["message"].is_string());
    let service = json!({ "plan": "starter", "email": "a@example.com" });
    let answer = app.post_as(SERVICE_KEY, "/api/v1/checkout", service).await;
    assert_eq!(
        (answer.status, &answer.json()["detail"]),
        (StatusCode::BAD_GATEWAY, &json!("payment_provider_error"))
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn an_unknown_plan_is_404(db: PgPool) {
    let shop = Shop::open(db).await;
    let answer = shop.app.post(CHECKOUT, order_with(&json!({ "plan_id": "gold" }))).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "plan-not-found".into()));
}

#[sqlx::test(migrations = "./migrations")]
async fn the_test_only_plan_is_not_sold_in_production_to_anyone_who_names_it(db: PgPool) {
    let pilot = order_with(&json!({ "plan_id": "pilot_1sar" }));
    let shop = Shop::open(db.clone()).await;
    assert_eq!(shop.app.post(CHECKOUT, pilot.clone()).await.json()["amount_halalas"], 100);

    let hidden = json!({ "plan": "PILOT_1SAR", "email": "a@example.com" });
    let answer = shop.app.post_as(SERVICE_KEY, "/api/v1/checkout", hidden.clone()).await;
    assert_eq!(answer.status, StatusCode::OK);

    let production = Shop::open_with(
        db,
        &[
            ("APP_ENV", "production"),
            ("APP_URL", "https://api.dealix.me"),
            ("MOYASAR_SECRET_KEY", "sk_test_sandbox0123456789"),
        ],
    )
    .await;
    let answer = production.app.post(CHECKOUT, pilot).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "plan-not-found".into()));
    let answer = production.app.post_as(SERVICE_KEY, "/api/v1/checkout", hidden).await;
    assert_eq!(answer.json()["detail"], "unknown_plan: PILOT_1SAR");
    assert_eq!(production.sandbox.ledger().requests("create_invoice"), 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn invalid_json_at_checkout_is_400_in_the_shape_of_every_failure(db: PgPool) {
    let app = TestApp::start(db);
    for path in [CHECKOUT, "/api/v1/checkout"] {
        for body in ["", "{", "not json", "{\"plan_id\":\"starter\"", "\u{feff}{}"] {
            let request = Request::post(path)
                .header("content-type", "application/json")
                .header("x-api-key", SERVICE_KEY);
            let answer = app.send(request.body(body.into()).unwrap()).await;
            assert_eq!(
                (answer.status, answer.code()),
                (StatusCode::BAD_REQUEST, "invalid-json".into()),
                "{body:?}"
            );
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn every_bad_field_is_named_at_once(db: PgPool) {
    let shop = Shop::open(db).await;
    let bad = order_with(&json!({
        "plan_id": null, "customer_name": "  ", "customer_email": "nobody", "customer_phone": "0112345678",
        "tenant_id": "t".repeat(129),
    }));
    let answer = shop.app.post(CHECKOUT, bad).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request".into())
    );
    let errors = answer.json()["errors"].clone();
    let pointers: Vec<_> =
        errors.as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(
        pointers,
        ["/plan_id", "/customer_name", "/customer_email", "/customer_phone", "/tenant_id"]
    );
    for (field, value) in
        [("locale", json!("fr")), ("customer_name", json!(7)), ("customer_name", json!("a\u{0}b"))]
    {
        let answer = shop.app.post(CHECKOUT, order_with(&json!({ field: value }))).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{field}");
        assert_eq!(answer.json()["errors"][0]["pointer"], format!("/{field}"));
    }
    assert_eq!(shop.count("checkouts").await, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn arabic_is_kept_byte_for_byte_and_the_phone_in_e164(db: PgPool) {
    let shop = Shop::open(db).await;
    let name = "شركة الأمل لـ«التقنية» ـ فرع ٢";
    let answer = shop.app.post(CHECKOUT, order_with(&json!({ "customer_name": name }))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let stored: (String, String, String, String) = sqlx::query_as(
        "select customer_name, customer_phone, customer_email, subscriber from checkouts",
    )
    .fetch_one(&shop.app.db)
    .await
    .unwrap();
    assert_eq!(stored.0.as_bytes(), name.as_bytes());
    assert_eq!(
        (stored.1.as_str(), stored.2.as_str(), stored.3.as_str()),
        ("+966512345678", "Buyer@Example.com", "email:buyer@example.com")
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn without_an_idempotency_key_every_request_is_its_own_checkout(db: PgPool) {
    let shop = Shop::open(db).await;
    let (one, other) = (shop.buy().await, shop.buy().await);
    assert_ne!(one.checkout_id, other.checkout_id);
    assert_ne!(one.invoice_id, other.invoice_id);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_sale_never_fails_over_a_statistic(db: PgPool) {
    let shop = Shop::open(db).await;
    let visitor = Uuid::new_v4().to_string();
    for (given, kept) in
        [(json!(visitor), true), (json!("buyer@example.com"), false), (json!(5), false)]
    {
        let answer = shop.app.post(CHECKOUT, order_with(&json!({ "distinct_id": given }))).await;
        assert_eq!(answer.status, StatusCode::OK);
        let checkout_id = answer.json()["checkout_id"].as_str().unwrap().to_owned();
        let stored: String =
            sqlx::query_scalar("select distinct_id from checkouts where id::text = $1")
                .bind(&checkout_id)
                .fetch_one(&shop.app.db)
                .await
                .unwrap();
        assert_eq!(stored, if kept { visitor.clone() } else { checkout_id });
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn our_services_buy_with_their_key_and_plan_names_in_any_case(db: PgPool) {
    let shop = Shop::open(db).await;
    let body = json!({ "plan": "STARTER", "email": "buyer@example.com", "lead_id": "lead-7" });
    assert_eq!(
        shop.app.post("/api/v1/checkout", body.clone()).await.status,
        StatusCode::UNAUTHORIZED
    );
    for key in [SERVICE_KEY, ADMIN_KEY] {
        let answer = shop.app.post_as(key, "/api/v1/checkout", body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let started = answer.json();
        assert_eq!(
            (&started["plan"], &started["status"], &started["amount_sar"]),
            (&json!("starter"), &json!("initiated"), &json!(990))
        );
        for field in ["invoice_id", "payment_url", "checkout_id"] {
            assert!(started[field].is_string(), "{field}");
        }
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn our_services_get_the_literal_errors_of_the_predecessor(db: PgPool) {
    let shop = Shop::open(db).await;
    let ask = async |plan: &str, email: &str| {
        let body = json!({ "plan": plan, "email": email });
        let answer = shop.app.post_as(SERVICE_KEY, "/api/v1/checkout", body).await;
        (answer.status, answer.json()["detail"].clone())
    };
    assert_eq!(
        ask("Gold", "a@example.com").await,
        (StatusCode::BAD_REQUEST, json!("unknown_plan: Gold"))
    );
    assert_eq!(
        ask("enterprise", "a@example.com").await,
        (StatusCode::BAD_REQUEST, json!("unknown_plan: enterprise"))
    );
    assert_eq!(ask("starter", "nobody").await, (StatusCode::BAD_REQUEST, json!("invalid_email")));
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::status(500)).once());
    assert_eq!(
        ask("starter", "a@example.com").await,
        (StatusCode::BAD_GATEWAY, json!("payment_provider_error"))
    );
    let answer = shop.app.post_as(SERVICE_KEY, "/api/v1/checkout", json!({})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_checkout_that_nobody_started_is_404(db: PgPool) {
    let app = TestApp::start(db);
    for id in [Uuid::new_v4().to_string(), "1".into(), "%D8%B3".into(), "%ff".into(), "%00".into()]
    {
        let answer = app.get(&format!("{CHECKOUT}/{id}")).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::NOT_FOUND, "checkout-not-found".into())
        );
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_checkout_is_pending_until_it_is_paid_and_then_shows_the_subscription(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    assert_eq!(
        shop.look(&bought).await,
        json!({
            "checkout_id": bought.checkout_id, "plan": "starter", "status": "pending",
            "amount_sar": 990, "amount_halalas": 99_000, "currency": "SAR",
        })
    );
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    assert_eq!(
        shop.look(&bought).await,
        json!({
            "checkout_id": bought.checkout_id, "plan": "starter", "status": "paid",
            "amount_sar": 990, "amount_halalas": 99_000, "currency": "SAR",
            "paid_at": "2026-01-02T03:04:05Z",
            "subscription": { "status": "active", "current_period_end": "2026-02-02T03:04:05Z" },
        })
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn a_refused_checkout_is_failed_and_an_authorised_or_abandoned_one_pending(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::status(400)).once());
    shop.app.post(CHECKOUT, order()).await;
    let refused: Uuid =
        sqlx::query_scalar("select id from checkouts").fetch_one(&shop.app.db).await.unwrap();
    assert_eq!(shop.app.get(&format!("{CHECKOUT}/{refused}")).await.json()["status"], "failed");
    for flow in [CardFlow::Authorize, CardFlow::Begin] {
        let bought = shop.buy().await;
        let payment = shop.pay(&bought, cards::MADA_APPROVED.with_flow(flow)).await;
        if flow == CardFlow::Begin {
            shop.sandbox.set_payment_status(&payment.id, "abandoned").unwrap();
        }
        shop.settle().await;
        assert_eq!(shop.look(&bought).await["status"], "pending");
    }
}
