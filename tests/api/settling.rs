//! How stored events are settled, CONTRACT section 4: believed, once, by several, through outages.

use std::time::Duration;

use dealix_sandbox::{Card, Fault, Operation, Trouble, cards};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::WEBHOOK_SECRET;
use crate::shop::Shop;
use crate::webhooks::event;

#[sqlx::test(migrations = "./migrations")]
async fn only_what_the_provider_answers_is_believed(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_EXPIRED).await;
    drop(shop.sandbox.take_held_webhooks());
    let forged = event(&json!({
        "data": { "id": payment.id, "status": "paid", "amount": 99_000, "currency": "SAR", "invoice_id": bought.invoice_id },
    }));
    shop.deliver(&forged).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    let shown = shop.look(&bought).await;
    assert_eq!(
        (&shown["status"], &shown["last_attempt"]["status"]),
        (&json!("pending"), &json!("failed"))
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn a_body_that_disagrees_is_applied_as_fetched_and_flagged(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let mut held = shop.sandbox.take_held_webhooks();
    let mut envelope = held.pop().unwrap();
    envelope["data"]["amount"] = json!(100);
    envelope["data"]["currency"] = json!("USD");
    shop.deliver(&envelope).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(
        shop.reviews().await,
        [("body_mismatch".into(), "the event's amount, currency is not the provider's".into())]
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn a_paid_event_writes_payment_subscription_outbox_and_audit_once(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    // Other ids, the same fact: each effect happens once per payment.
    for id in ["first", "second", "third"] {
        let mut again = envelope.clone();
        again["id"] = json!(id);
        shop.deliver(&again).await;
    }
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where status = 'done'").await, 3);
    assert_eq!(shop.count("payments where standing = 'granted'").await, 1);
    assert_eq!(shop.count("payment_effects where effect = 'granted'").await, 1);
    assert_eq!(
        shop.count("subscriptions where current_period_end = '2026-02-02T03:04:05Z'").await,
        1
    );
    assert_eq!(shop.count("outbox where name = 'payment_succeeded'").await, 1);
    assert_eq!(shop.count("audit_log where action = 'payment.settled'").await, 1);
    assert_eq!(shop.analytics(), ["payment_initiated", "payment_succeeded"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn two_instances_settle_an_event_once(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    let moyasar = shop.sandbox.moyasar_url();
    let other = crate::harness::TestApp::start_with(
        db,
        &[
            ("MOYASAR_BASE_URL", moyasar.as_str()),
            ("MOYASAR_SECRET_KEY", shop.sandbox.secret_key()),
        ],
    );
    let (one, two) = futures_util::future::join(
        Box::pin(shop.app.app.run_jobs_until_idle()),
        Box::pin(other.app.run_jobs_until_idle()),
    )
    .await;
    one.and(two).unwrap();
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 1);
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_outage_of_the_provider_is_no_attempt_and_the_event_waits(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)));
    shop.settle().await;
    for _ in 0..50 {
        shop.advance(Duration::from_secs(120));
        shop.settle().await;
    }
    assert_eq!(shop.count("webhook_events where status = 'received' and attempts = 0").await, 1);
    shop.sandbox.clear_faults();
    shop.advance(Duration::from_secs(400));
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn during_an_outage_of_the_provider_the_rest_of_the_backlog_is_left_alone(db: PgPool) {
    let shop = Shop::open(db).await;
    for n in 0..20 {
        let payment = json!({ "id": n, "data": { "id": format!("payment-{n}") } });
        shop.deliver(&event(&payment)).await;
    }
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)));
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where status = 'received'").await, 20);
    // One event met the outage; nobody even claimed the others.
    assert_eq!(shop.count("webhook_events where last_error is null").await, 19);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_key_that_the_provider_does_not_take_is_no_attempt(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    for status in [401, 403, 401, 403, 401, 403] {
        shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(status)));
        shop.settle().await;
        shop.sandbox.clear_faults();
        shop.advance(Duration::from_secs(10));
    }
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 6);
    assert_eq!(shop.count("webhook_events where status = 'received' and attempts = 0").await, 1);
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_cannot_be_settled_is_given_up_after_five_attempts(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    shop.settle().await;
    for attempts in 1..5 {
        assert_eq!(shop.count("webhook_events where status = 'received'").await, 1, "{attempts}");
        shop.advance(Duration::from_secs(145));
        shop.settle().await;
    }
    assert_eq!(shop.count("webhook_events where status = 'failed' and attempts = 5").await, 1);
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 5);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_whose_worker_died_is_taken_up_again_when_its_lease_ends(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    // A worker claimed it and never came back.
    sqlx::query("update webhook_events set lease_token = gen_random_uuid(), lease_until = '2026-01-02T03:05:05Z'")
        .execute(&shop.app.db)
        .await
        .unwrap();
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "pending");
    shop.advance(Duration::from_secs(61));
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_payment_of_nobody_is_for_a_person(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, Card::new("4111111111111111")).await;
    // As if somebody had made the invoice by hand, on our account.
    sqlx::query("delete from invoices").execute(&shop.app.db).await.unwrap();
    let id = shop.rename_checkout(&bought.checkout_id).await;
    shop.settle().await;
    let difference = format!("no checkout of ours has invoice {}", bought.invoice_id);
    assert_eq!(shop.reviews().await, [("unknown_invoice".into(), difference)]);
    shop.rename_checkout_to(&id, &bought.checkout_id).await;
    assert_eq!(shop.look(&bought).await["status"], "pending");
    shop.rename_checkout(&bought.checkout_id).await;
    // A second event of it asks nobody again.
    shop.deliver(&event(&json!({ "data": { "id": payment.id } }))).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("reviews").await, 1);
    // One that the provider does not know either.
    let unknown = event(&json!({ "id": "of-nobody" }));
    shop.deliver(&unknown).await;
    for attempt in 0..5 {
        assert_eq!(shop.count("reviews where kind = 'unknown_payment'").await, 0, "{attempt}");
        shop.app.app.run_jobs_until_idle().await.unwrap();
        shop.advance(Duration::from_secs(145));
    }
    assert_eq!(shop.count("reviews where kind = 'unknown_payment'").await, 1);
    assert_eq!(shop.count("webhook_events where status = 'failed'").await, 1);
    assert_eq!(shop.count("payments").await, 1);
    assert_eq!(payment.amount, 99_000);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_checkout_that_turns_up_later_still_gets_its_payment(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    sqlx::query("delete from invoices").execute(&shop.app.db).await.unwrap();
    let id = shop.rename_checkout(&bought.checkout_id).await;
    shop.deliver(&envelope).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.reviews().await[0].0, "unknown_invoice");
    shop.rename_checkout_to(&id, &bought.checkout_id).await;
    assert_eq!(shop.look(&bought).await["status"], "pending");
    let mut again = envelope;
    again["id"] = json!("again");
    shop.deliver(&again).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn the_request_id_stands_in_the_event_the_outbox_and_the_audit_row(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let mut envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    envelope["secret_token"] = json!(WEBHOOK_SECRET);
    let request = axum::http::Request::post("/api/v1/webhooks/moyasar")
        .header("x-request-id", "trace-me-7")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    shop.app.send(request.body(envelope.to_string().into()).unwrap()).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    let trace = "request_id = 'trace-me-7' and trace_id = '4bf92f3577b34da6a3ce929d0e0e4736'";
    let events = sqlx::AssertSqlSafe(format!("select count(*) from webhook_events where {trace}"));
    let count: i64 = sqlx::query_scalar(events).fetch_one(&shop.app.db).await.unwrap();
    assert_eq!(count, 1);
    assert_eq!(
        shop.count("outbox where name = 'payment_succeeded' and request_id = 'trace-me-7'").await,
        1
    );
    assert_eq!(shop.count("audit_log where request_id = 'trace-me-7'").await, 1);
}
