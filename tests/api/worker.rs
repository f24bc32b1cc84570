//! Who settles an event, CONTRACT sections 4 and 5: leases, events of one payment, invoices that we
//! lost, and events that processes die of.

use std::time::Duration;

use dealix_sandbox::{Fault, Operation, Trouble, cards};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::TestApp;
use crate::shop::Shop;
use crate::webhooks::event;

/// The same service in another process, its clock where the shop's is.
pub fn another_process(shop: &Shop, db: &PgPool) -> TestApp {
    let (moyasar, secret_key) = (shop.sandbox.moyasar_url(), shop.sandbox.secret_key());
    let variables = [("MOYASAR_BASE_URL", moyasar.as_str()), ("MOYASAR_SECRET_KEY", secret_key)];
    let other = TestApp::start_with(db.clone(), &variables);
    let ahead = shop.app.clock.now() - other.clock.now();
    other.clock.advance(ahead.to_std().unwrap());
    other
}

#[sqlx::test(migrations = "./migrations")]
async fn the_events_of_one_payment_are_settled_with_one_look(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    for n in 0..20 {
        let mut again = envelope.clone();
        again["id"] = json!(n);
        if n == 7 {
            again["data"]["amount"] = json!(1);
        }
        shop.deliver(&again).await;
    }
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 1);
    assert_eq!(
        shop.count("webhook_events where status = 'done' and outcome = 'granted'").await,
        20
    );
    // Each of them was compared with the answer.
    assert_eq!(shop.count("reviews where kind = 'body_mismatch'").await, 1);
    // One that comes later is a reason to look again.
    let mut later = envelope;
    later["id"] = json!("later");
    shop.deliver(&later).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 2);
    assert_eq!(shop.count("payment_effects").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_failed_before_is_tried_alone(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    for id in ["one", "two", "three"] {
        let mut again = envelope.clone();
        again["id"] = json!(id);
        shop.deliver(&again).await;
    }
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)).once());
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 1);
    assert_eq!(
        shop.count("webhook_events where attempts = 1 and error_class = 'refused'").await,
        3
    );
    shop.advance(Duration::from_secs(2));
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 4);
    assert_eq!(shop.count("webhook_events where status = 'done' and error_class is null").await, 3);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_waits_after_a_failure_are_those_of_the_contract(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.deliver(&event(&json!({ "id": "of-nobody" }))).await;
    for (attempts, wait) in (1..).zip([1_000_i64, 5_000, 30_000, 120_000]) {
        shop.app.app.run_jobs_until_idle().await.unwrap();
        let row: (i32, i64) = sqlx::query_as(
            "select attempts, (extract(epoch from next_attempt_at - $1) * 1000)::bigint from webhook_events
             where status = 'received' and lease_token is null and error_class = 'unknown_payment'",
        )
        .bind(shop.app.clock.now())
        .fetch_one(&shop.app.db)
        .await
        .unwrap();
        assert_eq!(row.0, attempts);
        let (least, most) = (wait * 79 / 100, wait * 121 / 100);
        assert!((least..=most).contains(&row.1), "{} ms after {attempts}", row.1);
        shop.advance(Duration::from_secs(145));
    }
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where status = 'failed' and attempts = 5").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_provider_that_names_a_time_is_left_alone_until_then_at_most_five_minutes(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    for (named, least, most) in [(60, 47, 73), (86_400, 239, 361)] {
        let trouble = Trouble::Status { code: 429, retry_after: Some(named) };
        shop.sandbox.fault(Fault::before(Operation::FetchPayment, trouble).once());
        shop.settle().await;
        let wait: i64 = sqlx::query_scalar(
            "select extract(epoch from next_attempt_at - $1)::bigint from webhook_events
             where attempts = 0 and error_class = 'rate_limited'",
        )
        .bind(shop.app.clock.now())
        .fetch_one(&shop.app.db)
        .await
        .unwrap();
        assert!((least..=most).contains(&wait), "{wait} s for {named} s");
        shop.advance(Duration::from_secs(361));
    }
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_processes_die_of_is_given_up_after_three_deaths_alone(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::Hang));
    // The first dies in company, three more with nothing else in hand.
    for deaths in 1..=4 {
        let process = another_process(&shop, &db);
        let ledger = || shop.sandbox.ledger().requests("fetch_payment");
        let has_asked = async {
            while ledger() < deaths {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = Box::pin(process.app.run_jobs_until_idle()) => panic!("it should hang"),
            () = has_asked => (),
        }
        // Its lease ends with nobody left to give it back.
        shop.advance(Duration::from_secs(60));
    }
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 4);
    let condition = "webhook_events where status = 'failed' and error_class = 'poison'";
    assert_eq!(shop.count(condition).await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_ordinary_end_clears_an_event_of_suspicion(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    let dead = "update webhook_events set lease_token = gen_random_uuid(), lease_owner = gen_random_uuid(),
         lease_until = '2026-01-01T00:00:00Z', deaths = 3";
    sqlx::query(dead).execute(&shop.app.db).await.unwrap();
    // One death too many.
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where error_class = 'poison'").await, 1);
    // One less, and an outage on the way.
    let revive = "update webhook_events set status = 'received', lease_token = gen_random_uuid(),
         lease_until = '2026-01-01T00:00:00Z', deaths = 2";
    sqlx::query(revive).execute(&shop.app.db).await.unwrap();
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)).once());
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where status = 'received' and deaths = 0").await, 1);
    shop.advance(Duration::from_secs(10));
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_invoice_that_we_lost_is_adopted_by_its_metadata_beside_the_one_we_know(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let rename = "update invoices set id = 'the-one-we-know'";
    sqlx::query(rename).execute(&shop.app.db).await.unwrap();
    // Its owner cannot be told from a provider that does not answer: that is no attempt.
    shop.sandbox.fault(Fault::before(Operation::FetchInvoice, Trouble::status(503)).once());
    shop.settle().await;
    assert_eq!(shop.count("webhook_events where status = 'received' and attempts = 0").await, 1);
    shop.advance(Duration::from_secs(10));
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.reviews().await, []);
    let invoices: Vec<String> = sqlx::query_scalar("select id from invoices order by id")
        .fetch_all(&shop.app.db)
        .await
        .unwrap();
    let mut both = vec!["the-one-we-know".to_owned(), bought.invoice_id.clone()];
    both.sort();
    assert_eq!(invoices, both);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_known_invoice_is_not_asked_about(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.sandbox.ledger().requests("fetch_invoice"), 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_came_while_a_clock_was_ahead_does_not_wait_for_that_time(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    for (n, misdate) in [
        "next_attempt_at = received_at + interval '16 min'",
        "next_attempt_at = received_at + interval '1 day', lease_token = gen_random_uuid(), \
         lease_owner = gen_random_uuid(), lease_until = received_at + interval '1 day'",
    ]
    .into_iter()
    .enumerate()
    {
        shop.deliver(&event(&json!({ "id": n }))).await;
        let misdate = format!(
            "update webhook_events set payment_id = null, {misdate} where status = 'received'"
        );
        sqlx::query(sqlx::AssertSqlSafe(misdate)).execute(&db).await.unwrap();
        shop.run_jobs().await;
        assert_eq!(shop.count("webhook_events where status = 'received'").await, 0, "{n}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_worker_whose_lease_has_ended_gives_nothing_up_and_asks_nobody(db: PgPool) {
    let shop = Shop::open(db).await;
    // Of a payment that the provider does not know, and at its last attempt.
    shop.deliver(&event(&json!({}))).await;
    for statement in [
        "update webhook_events set attempts = 4",
        // Whoever writes the failure down comes too late: the row is somebody else's.
        "create function is_late() returns trigger language plpgsql as 'begin return null; end'",
        "create trigger late before update on webhook_events for each row
         when (new.status = 'failed') execute function is_late()",
    ] {
        sqlx::query(statement).execute(&shop.app.db).await.unwrap();
    }
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 1);
    assert_eq!(shop.count("webhook_events where status = 'received'").await, 1);
    assert!(shop.reviews().await.is_empty());
}
