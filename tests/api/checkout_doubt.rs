//! Checkouts of which nobody knows whether the provider made an invoice, CONTRACT section 3.

use std::time::Duration;

use axum::http::StatusCode;
use dealix_sandbox::{Fault, Operation, Trouble, cards};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::SERVICE_KEY;
use crate::shop::{Bought, Shop, order};
use crate::worker::another_process;

const CHECKOUT: &str = "/api/v1/pricing/checkout";
const A_MINUTE: Duration = Duration::from_secs(60);

/// Every way in which an answer can be lost after the invoice was made.
fn lost_answers() -> [Fault; 4] {
    [Trouble::Reset, Trouble::Malformed, Trouble::status(502), Trouble::status(408)]
        .map(|trouble| Fault::after(Operation::CreateInvoice, trouble).once())
}

#[sqlx::test(migrations = "./migrations")]
async fn an_invoice_whose_answer_was_lost_is_found_by_its_metadata_and_sold(db: PgPool) {
    let shop = Shop::open(db).await;
    for lost in lost_answers() {
        shop.sandbox.fault(lost.clone());
        let answer = shop.app.post(CHECKOUT, order()).await;
        assert_eq!(answer.status, StatusCode::OK, "{lost:?}: {answer:?}");
        let ledger = shop.sandbox.ledger();
        let invoice = ledger.invoices().last().unwrap();
        assert_eq!(answer.json()["invoice_id"], invoice.id);
        assert_eq!(answer.json()["payment_url"], invoice.url);
        assert_eq!(answer.json()["expires_at"], "2026-01-03T03:04:05Z");
    }
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 4);
    assert_eq!(shop.statuses().await, ["pending"; 4]);
    shop.run_jobs().await;
    assert_eq!(shop.analytics(), ["payment_initiated"; 4]);
}

#[sqlx::test(migrations = "./migrations")]
async fn where_none_is_found_it_is_503_and_there_is_no_second_post(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::Reset).once());
    let answer = shop.order_once("key", &order()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "upstream-unavailable".into())
    );
    assert_eq!(answer.header("retry-after"), "60");
    assert_eq!(answer.json()["retryable"], true);
    // The intent was written before the provider was asked, and stays.
    assert_eq!(shop.statuses().await, ["opening"]);
    shop.advance(Duration::from_secs(59));
    shop.run_jobs().await;
    let again = shop.order_once("key", &order()).await;
    assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, "request-in-progress".into()));
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 1);
    assert_eq!(shop.statuses().await, ["opening"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn where_the_search_fails_as_well_it_is_502(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    shop.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(500)).once());
    let answer = shop.app.post(CHECKOUT, order()).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::BAD_GATEWAY, "payment-gateway-error".into())
    );
    assert_eq!(answer.json()["retryable"], true);
    assert_eq!(shop.statuses().await, ["opening"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn our_services_are_told_literally_that_the_provider_failed(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::Reset));
    for search in [None, Some(Trouble::status(500))] {
        if let Some(trouble) = search {
            shop.sandbox.fault(Fault::before(Operation::ListInvoices, trouble).once());
        }
        let body = json!({ "plan": "starter", "email": "a@example.com" });
        let answer = shop.app.post_as(SERVICE_KEY, "/api/v1/checkout", body).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert_eq!(answer.json()["detail"], "payment_provider_error");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_minute_later_a_look_opens_what_was_made_as_if_nothing_had_happened(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    shop.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(500)).once());
    assert_eq!(shop.order_once("key", &order()).await.status, StatusCode::BAD_GATEWAY);
    shop.advance(A_MINUTE);
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["pending"]);
    assert_eq!(shop.analytics(), ["payment_initiated"]);

    let again = shop.order_once("key", &order()).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.header("idempotent-replayed"), "true");
    let started = again.json();
    let ledger = shop.sandbox.ledger();
    assert_eq!(started["payment_url"], ledger.invoices()[0].url);
    assert_eq!(ledger.requests("create_invoice"), 1);
    let text = |name: &str| started[name].as_str().unwrap().to_owned();
    let bought = Bought { checkout_id: text("checkout_id"), invoice_id: text("invoice_id") };
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn where_there_is_none_a_minute_later_it_is_over_and_the_same_key_may_try_again(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::Reset).once());
    assert_eq!(shop.order_once("key", &order()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    shop.advance(A_MINUTE);
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["refused"]);
    let again = shop.order_once("key", &order()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (StatusCode::OK, ""));
    assert_eq!(shop.statuses().await, ["refused", "pending"]);
    assert_eq!(shop.sandbox.ledger().invoices().len(), 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn while_the_provider_is_away_a_checkout_in_doubt_waits_however_long_that_is(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    shop.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(503)));
    assert_eq!(shop.order_once("key", &order()).await.status, StatusCode::BAD_GATEWAY);
    for _ in 0..30 {
        shop.advance(Duration::from_mins(11));
        shop.run_jobs().await;
        assert_eq!(shop.statuses().await, ["opening"]);
    }
    shop.sandbox.clear_faults();
    shop.advance(Duration::from_mins(12));
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["pending"]);
    let again = shop.order_once("key", &order()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (StatusCode::OK, "true"));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_store_that_dies_after_the_invoice_was_made_loses_nothing(db: PgPool) {
    let shop = Shop::open(db).await;
    sqlx::query("alter table outbox rename to outbox_away").execute(&shop.app.db).await.unwrap();
    let answer = shop.order_once("key", &order()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    sqlx::query("alter table outbox_away rename to outbox").execute(&shop.app.db).await.unwrap();
    assert_eq!(shop.statuses().await, ["opening"]);
    shop.advance(A_MINUTE);
    shop.run_jobs().await;
    let again = shop.order_once("key", &order()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (StatusCode::OK, "true"));
    assert_eq!(shop.sandbox.ledger().requests("create_invoice"), 1);
    assert_eq!(shop.analytics(), ["payment_initiated"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_look_whose_worker_died_is_taken_up_again_when_its_lease_ends(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    shop.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(500)).once());
    shop.app.post(CHECKOUT, order()).await;
    shop.advance(A_MINUTE);
    let lease = "update checkouts set look_token = gen_random_uuid(), looked_at = $1,
        look_at = $1 + interval '30 seconds'";
    sqlx::query(lease).bind(shop.app.clock.now()).execute(&shop.app.db).await.unwrap();
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["opening"]);
    shop.advance(Duration::from_secs(30));
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["pending"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn several_instances_share_the_looks_and_each_checkout_is_looked_at_once(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::Reset));
    for _ in 0..4 {
        shop.app.post(CHECKOUT, order()).await;
    }
    let searches = shop.sandbox.ledger().requests("list_invoices");
    shop.advance(A_MINUTE);
    let other = another_process(&shop, &db);
    let (one, other) = tokio::join!(
        Box::pin(shop.app.app.run_jobs_until_idle()),
        Box::pin(other.app.run_jobs_until_idle()),
    );
    one.and(other).unwrap();
    assert_eq!(shop.statuses().await, ["refused"; 4]);
    assert_eq!(shop.sandbox.ledger().requests("list_invoices"), searches + 4);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_payment_that_is_quicker_than_the_look_still_opens_its_checkout_once(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    shop.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(500)).once());
    shop.order_once("key", &order()).await;
    let invoice = shop.sandbox.ledger().invoices()[0].clone();
    let map = "insert into invoices (id, checkout_id, payment_url, created_at)
        select $1, id, $2, $3 from checkouts";
    let now = shop.app.clock.now();
    let map = sqlx::query(map).bind(&invoice.id).bind(&invoice.url).bind(now);
    map.execute(&shop.app.db).await.unwrap();
    shop.sandbox.pay(&invoice.id, cards::MADA_APPROVED).await.unwrap();
    shop.settle().await;
    assert_eq!(shop.statuses().await, ["paid"]);
    shop.advance(A_MINUTE);
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["paid"]);
    let again = shop.order_once("key", &order()).await;
    assert_eq!(again.json()["payment_url"], invoice.url);
    let mut analytics = shop.analytics();
    analytics.sort();
    assert_eq!(analytics, ["payment_initiated", "payment_succeeded"]);
}
