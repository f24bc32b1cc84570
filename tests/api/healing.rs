//! Healing, CONTRACT sections 3 and 4: a waiting buyer, the invoice's callback, and the last look.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use dealix_sandbox::{Fault, Operation, Trouble, cards};
use serde_json::json;
use sqlx::PgPool;

use crate::shop::{Shop, order};

const CHECKOUT: &str = "/api/v1/pricing/checkout";

/// The path that the provider calls back.
fn callback(shop: &Shop) -> String {
    let url = shop.sandbox.ledger().invoices()[0].callback_url.clone().unwrap();
    url.strip_prefix("http://127.0.0.1:8001").unwrap().to_owned()
}

fn looks(shop: &Shop) -> u64 {
    shop.sandbox.ledger().requests("fetch_invoice")
}

#[sqlx::test(migrations = "./migrations")]
async fn a_lost_webhook_heals_while_the_buyer_is_still_looking(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    drop(shop.sandbox.take_held_webhooks());
    assert_eq!(shop.look(&bought).await["status"], "pending");
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 0);
    shop.advance(Duration::from_secs(11));
    for _ in 0..20 {
        shop.look(&bought).await;
    }
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 1);
    let shown = shop.look(&bought).await;
    assert_eq!(
        (&shown["status"], &shown["subscription"]["status"]),
        (&json!("paid"), &json!("active"))
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn a_poll_prompts_one_look_every_ten_seconds_at_most_on_all_instances_together(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.advance(Duration::from_secs(10));
    shop.look(&bought).await;
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 0, "not before more than ten seconds have passed");
    shop.advance(Duration::from_secs(1));
    for (seconds, expected) in [(0, 1), (5, 1), (4, 1), (1, 2), (9, 2), (1, 3)] {
        shop.advance(Duration::from_secs(seconds));
        for _ in 0..3 {
            shop.look(&bought).await;
            shop.run_jobs().await;
        }
        assert_eq!(looks(&shop), expected);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_head_of_a_waiting_checkout_has_no_effects(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.advance(Duration::from_secs(60));
    for path in
        [format!("{CHECKOUT}/{}", bought.checkout_id), format!("/checkout/{}", bought.checkout_id)]
    {
        let answer = shop.app.send(Request::head(&path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 0);
    assert_eq!(shop.count("checkouts where looked_at is null").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_buyer_who_waits_for_a_checkout_in_doubt_is_looked_after_too(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    shop.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(500)).once());
    shop.app.post(CHECKOUT, order()).await;
    let invoice = shop.sandbox.ledger().invoices()[0].clone();
    let id = invoice.metadata.as_ref().unwrap()["checkout_id"].as_str().unwrap().to_owned();
    shop.sandbox.pay(&invoice.id, cards::MADA_APPROVED).await.unwrap();
    drop(shop.sandbox.take_held_webhooks());
    shop.advance(Duration::from_secs(11));
    let path = format!("{CHECKOUT}/{id}");
    assert_eq!(shop.app.get(&path).await.json()["status"], "pending");
    shop.run_jobs().await;
    assert_eq!(shop.app.get(&path).await.json()["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_early_look_that_finds_nothing_ends_nothing(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::before(Operation::CreateInvoice, Trouble::Reset).once());
    shop.app.post(CHECKOUT, order()).await;
    let id: uuid::Uuid =
        sqlx::query_scalar("select id from checkouts").fetch_one(&shop.app.db).await.unwrap();
    shop.advance(Duration::from_secs(11));
    shop.app.get(&format!("{CHECKOUT}/{id}")).await;
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["opening"]);
    shop.advance(Duration::from_secs(49));
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["refused"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_invoice_callback_is_only_a_prompt_and_always_200(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    drop(shop.sandbox.take_held_webhooks());
    for odd in ["guess", "%00", "%ff"] {
        let path = format!("/api/v1/webhooks/moyasar/invoices/{odd}");
        let answer = shop.app.post(&path, json!({ "status": "paid" })).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "status": "ok" })));
    }
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 0, "whoever does not know the token prompts nothing");
    assert_eq!(shop.app.post(&callback(&shop), json!("whatever")).await.status, StatusCode::OK);
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 1);
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_thousand_callbacks_are_one_look(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.buy().await;
    let path = callback(&shop);
    for count in 0..1_000 {
        assert_eq!(shop.app.post(&path, json!({})).await.status, StatusCode::OK);
        if count % 250 == 0 {
            shop.run_jobs().await;
        }
    }
    assert_eq!(looks(&shop), 1);
    // The last of them came after the look: it is not forgotten.
    shop.advance(Duration::from_secs(10));
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 2);
    shop.advance(Duration::from_hours(1));
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 2);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_callback_is_200_without_a_store_too(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.buy().await;
    let path = callback(&shop);
    shop.app.db.close().await;
    assert_eq!(shop.app.post(&path, json!({})).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_prompt_waits_while_the_provider_is_away(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    drop(shop.sandbox.take_held_webhooks());
    shop.sandbox.fault(Fault::before(Operation::FetchInvoice, Trouble::status(503)));
    shop.app.post(&callback(&shop), json!({})).await;
    shop.run_jobs().await;
    shop.sandbox.clear_faults();
    shop.advance(Duration::from_secs(7));
    shop.run_jobs().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_last_look_after_its_time_ends_a_checkout_that_nobody_looks_at(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.buy().await;
    shop.advance(Duration::from_hours(24));
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["pending"], "who began in time may end a little late");
    shop.advance(Duration::from_mins(10));
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["expired"]);
    shop.advance(Duration::from_hours(100));
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_last_look_finds_a_payment_of_which_nobody_ever_heard(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    drop(shop.sandbox.take_held_webhooks());
    shop.advance(Duration::from_hours(25));
    shop.run_jobs().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn what_is_neither_paid_nor_ended_two_days_after_its_time_is_for_a_person(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    // A hold that nobody captures keeps its invoice from ending.
    let hold = cards::MADA_APPROVED.with_flow(dealix_sandbox::CardFlow::Authorize);
    shop.pay(&bought, hold).await;
    shop.settle().await;
    for _ in 0..20 {
        shop.advance(Duration::from_hours(6));
        shop.run_jobs().await;
    }
    assert_eq!(shop.statuses().await, ["pending"]);
    let kinds: Vec<_> = shop.reviews().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["undecided_checkout"]);
    assert!(looks(&shop) < 12, "{}", looks(&shop));
}

#[sqlx::test(migrations = "./migrations")]
async fn an_invoice_that_cannot_be_read_hides_no_paid_one(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    drop(shop.sandbox.take_held_webhooks());
    // An older page of the same checkout, which the provider does not know any more.
    let add = "insert into invoices (id, checkout_id, payment_url, created_at)
        values (gen_random_uuid()::text, $1::uuid, 'http://127.0.0.1/gone', '2026-01-01')";
    sqlx::query(add).bind(&bought.checkout_id).execute(&shop.app.db).await.unwrap();
    shop.advance(Duration::from_secs(11));
    shop.look(&bought).await;
    shop.run_jobs().await;
    assert_eq!(looks(&shop), 2);
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.count("checkouts where look_failures = 1").await, 1);
}
