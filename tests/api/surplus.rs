//! Two invoices of one checkout: the older stays, the other is canceled, both map to the checkout.

use std::time::Duration;

use axum::http::StatusCode;
use dealix_sandbox::{CardFlow, Fault, Invoice, InvoiceStatus, Operation, Trouble, cards};
use serde_json::json;
use sqlx::PgPool;

use crate::shop::{Bought, Shop, order};

/// A checkout whose request for an invoice was sent twice on the way, and whose answer was lost: known
/// to nobody but the provider. Older invoice first.
async fn doubled(shop: &Shop) -> (Invoice, Invoice) {
    shop.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    shop.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(500)).once());
    let answer = shop.order_once("a-key", &order()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let older = shop.sandbox.ledger().invoices()[0].clone();
    shop.advance(Duration::from_secs(1));
    let newer = shop.sandbox.repeat_invoice(&older.id).unwrap();
    shop.advance(Duration::from_secs(59));
    (older, newer)
}

async fn bought(shop: &Shop) -> Bought {
    let started = shop.order_once("a-key", &order()).await.json();
    let text = |name: &str| started[name].as_str().unwrap().to_owned();
    Bought { checkout_id: text("checkout_id"), invoice_id: text("invoice_id") }
}

fn status_of(shop: &Shop, invoice: &Invoice) -> InvoiceStatus {
    let ledger = shop.sandbox.ledger();
    ledger.invoices().iter().find(|other| other.id == invoice.id).unwrap().status
}

#[sqlx::test(migrations = "./migrations")]
async fn the_older_invoice_stays_and_the_newer_is_canceled(db: PgPool) {
    let shop = Shop::open(db).await;
    let (older, newer) = doubled(&shop).await;
    shop.run_jobs().await;
    assert_eq!(bought(&shop).await.invoice_id, older.id);
    assert_eq!(status_of(&shop, &older), InvoiceStatus::Initiated);
    assert_eq!(status_of(&shop, &newer), InvoiceStatus::Canceled);
    assert_eq!(shop.count("invoices").await, 2);
    assert_eq!(shop.count("invoices where cancel_outcome = 'canceled'").await, 1);
    assert_eq!(shop.sandbox.ledger().requests("cancel_invoice"), 1);
    assert_eq!(shop.count("reviews").await, 0);
    assert_eq!(shop.analytics(), ["payment_initiated"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn what_was_paid_is_never_canceled_and_both_are_settled(db: PgPool) {
    let shop = Shop::open(db).await;
    let (older, newer) = doubled(&shop).await;
    for invoice in [&newer, &older] {
        shop.sandbox.pay(&invoice.id, cards::MADA_APPROVED).await.unwrap();
    }
    drop(shop.sandbox.take_held_webhooks());
    shop.run_jobs().await;
    shop.advance(Duration::from_secs(11));
    shop.run_jobs().await;
    assert_eq!(shop.sandbox.ledger().requests("cancel_invoice"), 0);
    assert_eq!(shop.count("invoices where cancel_outcome = 'paid'").await, 1);
    assert_eq!(shop.look(&bought(&shop).await).await["status"], "paid");
    assert_eq!(shop.count("payments where standing = 'granted'").await, 1);
    assert_eq!(shop.count("payments").await, 2);
    // The second payment is for a person, who gives it back.
    assert_eq!(shop.count("reviews").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_refusal_to_cancel_is_looked_into_and_tried_again_and_then_given_to_a_person(db: PgPool) {
    let shop = Shop::open(db).await;
    let (_, newer) = doubled(&shop).await;
    shop.sandbox.fault(Fault::before(Operation::CancelInvoice, Trouble::status(400)));
    shop.run_jobs().await;
    for attempts in 1..5 {
        assert_eq!(shop.sandbox.ledger().requests("cancel_invoice"), attempts);
        assert_eq!(shop.count("invoices where cancel_outcome = 'refused'").await, 1);
        shop.advance(Duration::from_secs(60));
        shop.run_jobs().await;
    }
    let difference =
        format!("invoice {} is one too many: the provider does not cancel it", newer.id);
    assert_eq!(shop.reviews().await, [("surplus_invoice".to_owned(), difference)]);
    shop.advance(Duration::from_hours(1));
    shop.run_jobs().await;
    assert_eq!(shop.sandbox.ledger().requests("cancel_invoice"), 5);
}

#[sqlx::test(migrations = "./migrations")]
async fn one_that_has_ended_by_itself_is_left_alone(db: PgPool) {
    let shop = Shop::open(db).await;
    let (_, newer) = doubled(&shop).await;
    shop.sandbox.fault(Fault::before(Operation::CancelInvoice, Trouble::status(400)).once());
    shop.run_jobs().await;
    shop.sandbox.expire(&newer.id).unwrap();
    shop.advance(Duration::from_secs(60));
    shop.run_jobs().await;
    assert_eq!(shop.sandbox.ledger().requests("cancel_invoice"), 1);
    assert_eq!(shop.count("invoices where cancel_outcome = 'canceled'").await, 1);
    assert_eq!(shop.count("reviews").await, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_outage_while_canceling_is_no_attempt(db: PgPool) {
    let shop = Shop::open(db).await;
    let (_, newer) = doubled(&shop).await;
    shop.sandbox.fault(Fault::after(Operation::CancelInvoice, Trouble::status(503)).once());
    shop.run_jobs().await;
    assert_eq!(shop.count("invoices where cancel_failures = 0 and cancel_at is not null").await, 1);
    shop.advance(Duration::from_secs(60));
    shop.run_jobs().await;
    // It had its effect: a second request is not needed to know.
    assert_eq!(shop.sandbox.ledger().requests("cancel_invoice"), 1);
    assert_eq!(status_of(&shop, &newer), InvoiceStatus::Canceled);
    assert_eq!(shop.count("invoices where cancel_outcome = 'canceled'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn only_an_invoice_that_names_the_same_checkout_is_canceled(db: PgPool) {
    let shop = Shop::open(db).await;
    let (one, other) = (shop.buy().await, shop.buy().await);
    let mark = "update invoices set is_surplus = true, cancel_at = $3,
        checkout_id = $2::uuid where id = $1";
    let now = shop.app.clock.now();
    let mark = sqlx::query(mark).bind(&other.invoice_id).bind(&one.checkout_id).bind(now);
    mark.execute(&shop.app.db).await.unwrap();
    shop.run_jobs().await;
    assert_eq!(shop.sandbox.ledger().requests("cancel_invoice"), 0);
    assert_eq!(shop.reviews().await[0].0, "surplus_invoice");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_invoice_that_is_not_what_was_asked_for_is_for_a_person(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.sandbox.fault(Fault::after(Operation::CreateInvoice, Trouble::Reset).once());
    shop.sandbox.fault(Fault::before(Operation::ListInvoices, Trouble::status(500)).once());
    shop.order_once("a-key", &order()).await;
    // As if we had asked for another amount: nothing at the provider can be made to change one.
    sqlx::query("update checkouts set amount_halalas = 100").execute(&shop.app.db).await.unwrap();
    shop.advance(Duration::from_secs(60));
    shop.run_jobs().await;
    assert_eq!(shop.statuses().await, ["refused"]);
    let invoice = shop.sandbox.ledger().invoices()[0].clone();
    let difference =
        format!("invoice {} names the checkout and is not what was asked for", invoice.id);
    assert_eq!(shop.reviews().await, [("strange_invoice".to_owned(), difference)]);
    assert_eq!(shop.order_once("a-key", &order()).await.json()["amount_halalas"], json!(99_000));
}

#[sqlx::test(migrations = "./migrations")]
async fn the_older_is_canceled_where_a_payment_made_the_newer_known_first(db: PgPool) {
    let shop = Shop::open(db).await;
    let (older, newer) = doubled(&shop).await;
    // The webhook is quicker than the look.
    let later = "update checkouts set look_at = look_at + interval '1 minute'";
    sqlx::query(later).execute(&shop.app.db).await.unwrap();
    shop.sandbox.pay(&newer.id, cards::MADA_APPROVED).await.unwrap();
    shop.settle().await;
    assert_eq!((shop.statuses().await, shop.count("invoices").await), (vec!["paid".into()], 1));
    shop.advance(Duration::from_secs(60));
    shop.run_jobs().await;
    assert_eq!(status_of(&shop, &older), InvoiceStatus::Canceled);
    assert_eq!(bought(&shop).await.invoice_id, newer.id);
    assert_eq!(shop.look(&bought(&shop).await).await["status"], "paid");
    assert_eq!(shop.count("reviews").await, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_mere_hold_has_not_paid_the_newer_and_is_looked_at_until_it_is_captured(db: PgPool) {
    let shop = Shop::open(db).await;
    let (_, newer) = doubled(&shop).await;
    let hold = cards::MADA_APPROVED.with_flow(CardFlow::Authorize);
    let payment = shop.sandbox.pay(&newer.id, hold).await.unwrap();
    drop(shop.sandbox.take_held_webhooks());
    shop.run_jobs().await;
    // Neither paid nor to be canceled under the customer's hands.
    assert_eq!(shop.sandbox.ledger().requests("cancel_invoice"), 0);
    let waits = "invoices where cancel_outcome = 'held' and cancel_at is not null";
    assert_eq!(shop.count(waits).await, 1);
    shop.sandbox.capture(&payment.id, None).unwrap();
    drop(shop.sandbox.take_held_webhooks());
    shop.advance(Duration::from_hours(1));
    shop.run_jobs().await;
    assert_eq!(shop.count("invoices where cancel_outcome = 'paid' and cancel_at is null").await, 1);
    assert_eq!(shop.statuses().await, ["paid"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_invoice_that_is_adopted_beside_another_is_one_too_many_and_canceled_if_unpaid(
    db: PgPool,
) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let ours = bought.invoice_id.clone();
    let other = shop.sandbox.repeat_invoice(&ours).unwrap();
    // An attempt that fails makes it known, and leaves it open.
    shop.sandbox.pay(&other.id, cards::MADA_EXPIRED).await.unwrap();
    shop.settle().await;
    assert_eq!(shop.count("invoices where is_surplus and cancel_outcome = 'canceled'").await, 1);
    assert_eq!(status_of(&shop, &other), InvoiceStatus::Canceled);
    let first = shop.sandbox.ledger().invoices().iter().find(|it| it.id == ours).unwrap().status;
    assert_eq!(first, InvoiceStatus::Initiated);
    assert_eq!(shop.count("reviews").await, 0);
}
