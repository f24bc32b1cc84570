//! Alerts: whoever is on call is told once of each trouble, and once that it is over.

use std::time::Duration;

use dealix::queue::{Letter, Queue};
use dealix_sandbox::{Fault, Operation, Sandbox, Trouble, Twist, cards};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::desk::{letters, message};
use crate::harness::{ADMIN_KEY, TestApp};
use crate::proxy::Proxy;
use crate::shop::Shop;

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// A shop whose person on call is played by another sandbox.
async fn shop_on_call(db: PgPool) -> (Shop, Sandbox) {
    let pager = Sandbox::start(dealix_sandbox::Options::default()).await.unwrap();
    let url = pager.alert_url();
    let shop = Shop::open_with(db, &[("ALERT_WEBHOOK_URL", url.as_str())]).await;
    (shop, pager)
}

/// A payment that needs a person.
async fn a_question(shop: &Shop) -> String {
    let bought = shop.buy().await;
    shop.sandbox.fault(Fault::payment(Twist::Charge { amount: Some(100), currency: None }).once());
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    sqlx::query_scalar("select id::text from reviews order by opened_at desc, id desc limit 1")
        .fetch_one(&shop.app.db)
        .await
        .unwrap()
}

/// Kind, subject and state of everything that the person was told.
fn told(pager: &Sandbox) -> Vec<(String, String, String)> {
    let ledger = pager.ledger();
    let alerts = ledger.alerts().iter().flat_map(|it| it["alerts"].as_array().unwrap());
    let text = |alert: &Value, name: &str| alert[name].as_str().unwrap().to_owned();
    alerts.map(|it| (text(it, "kind"), text(it, "subject"), text(it, "state"))).collect()
}

async fn look(app: &TestApp) {
    app.app.call_for_help().await.unwrap();
}

#[sqlx::test(migrations = "./migrations")]
async fn a_new_question_is_told_once_and_once_more_when_it_is_resolved(db: PgPool) {
    let (shop, pager) = shop_on_call(db).await;
    look(&shop.app).await;
    assert_eq!(told(&pager), []);
    let review = a_question(&shop).await;
    for _ in 0..3 {
        look(&shop.app).await;
        shop.advance(HALF_A_MINUTE);
    }
    let raised = ("paid_not_granted".to_owned(), review.clone(), "raised".to_owned());
    assert_eq!(told(&pager), std::slice::from_ref(&raised));
    let ledger = pager.ledger();
    let message = ledger.alerts()[0].to_string();
    assert!(message.contains(&format!("dealix-api explain {review}")), "{message}");
    assert!(message.contains("A customer paid 1 SAR") && message.contains("عميل دفع 1 ريال"));
    // Nothing of the customer.
    let lower = message.to_lowercase();
    assert!(!lower.contains("example.com") && !lower.contains("512345678"), "{message}");

    let path = format!("/api/v1/admin/reviews/{review}/resolve");
    let body = json!({ "resolution": "refunded", "reason": "by hand" });
    shop.app.post_as(ADMIN_KEY, &path, body).await;
    look(&shop.app).await;
    look(&shop.app).await;
    let cleared = ("paid_not_granted".to_owned(), review, "cleared".to_owned());
    assert_eq!(told(&pager), [raised, cleared]);
}

#[sqlx::test(migrations = "./migrations")]
async fn what_was_not_heard_is_told_again_later_and_later(db: PgPool) {
    let (shop, pager) = shop_on_call(db).await;
    a_question(&shop).await;
    for trouble in [Trouble::status(500), Trouble::Reset, Trouble::status(404)] {
        pager.fault(Fault::before(Operation::ReceiveAlert, trouble).once());
    }
    let mut asked = Vec::new();
    for _ in 0..16 {
        look(&shop.app).await;
        asked.push(pager.ledger().requests(Operation::ReceiveAlert));
        shop.advance(HALF_A_MINUTE);
    }
    assert_eq!((asked[0], *asked.last().unwrap()), (1, 4), "{asked:?}");
    let waits = |from: u64| asked.iter().filter(|number| **number == from).count();
    assert!(waits(1) <= 2 && waits(3) >= 4, "{asked:?}");
    assert_eq!(told(&pager).len(), 1);
    assert_eq!(shop.count("alerts where told = 'raised' and next_attempt_at is null").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_lost_answer_and_a_second_instance_tell_nothing_that_cannot_be_told_apart(db: PgPool) {
    let (shop, pager) = shop_on_call(db.clone()).await;
    let url = pager.alert_url();
    let other = TestApp::start_with(db, &[("ALERT_WEBHOOK_URL", url.as_str())]);
    a_question(&shop).await;
    pager.fault(Fault::after(Operation::ReceiveAlert, Trouble::Reset).once());
    look(&shop.app).await;
    look(&other).await;
    shop.advance(Duration::from_secs(40));
    other.clock.advance(Duration::from_secs(40));
    look(&other).await;
    look(&shop.app).await;
    let ledger = pager.ledger();
    let ids: Vec<_> = ledger.alerts().iter().map(|it| it["alerts"][0]["id"].clone()).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], ids[1]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_trouble_must_last_and_comes_again_only_after_it_was_over(db: PgPool) {
    let (shop, pager) = shop_on_call(db).await;
    let refuse = "insert into outbox (uuid, name, distinct_id, happened_at, properties, status,
         next_attempt_at) values (gen_random_uuid(), 'x', 'x', now(), '{}', 'refused', now())";
    let mend = "delete from outbox where status = 'refused'";
    let run = async |statement: &'static str| {
        sqlx::query(statement).execute(&shop.app.db).await.unwrap();
    };
    // Gone at the next look: nobody is woken.
    run(refuse).await;
    look(&shop.app).await;
    run(mend).await;
    look(&shop.app).await;
    assert_eq!(told(&pager), []);
    for _ in 0..2 {
        run(refuse).await;
        look(&shop.app).await;
        look(&shop.app).await;
        run(mend).await;
        look(&shop.app).await;
    }
    let states: Vec<_> = told(&pager).into_iter().map(|(_, _, state)| state).collect();
    assert_eq!(states, ["raised", "cleared", "raised", "cleared"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn that_postgres_is_away_is_told_without_it_and_that_it_is_back_too(db: PgPool) {
    let pager = Sandbox::start(dealix_sandbox::Options::default()).await.unwrap();
    let (postgres, database) = Proxy::to_postgres(&db).await;
    let url = pager.alert_url();
    let app =
        TestApp::start_alone(&[("DATABASE_URL", &database), ("ALERT_WEBHOOK_URL", url.as_str())]);
    look(&app).await;
    postgres.freeze();
    for _ in 0..3 {
        // What is due cannot be looked up meanwhile.
        assert!(app.app.call_for_help().await.is_err());
    }
    let raised = ("postgres_away".to_owned(), String::new(), "raised".to_owned());
    assert_eq!(told(&pager), std::slice::from_ref(&raised));
    postgres.thaw();
    look(&app).await;
    look(&app).await;
    let cleared = ("postgres_away".to_owned(), String::new(), "cleared".to_owned());
    assert_eq!(told(&pager), [raised, cleared]);
}

#[sqlx::test(migrations = "./migrations")]
async fn without_an_address_alerts_are_written_down_and_told_to_nobody(db: PgPool) {
    let shop = Shop::open(db).await;
    a_question(&shop).await;
    look(&shop.app).await;
    assert_eq!(shop.count("alerts where next_attempt_at is null and told is null").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_first_entry_of_each_group_that_is_given_up_is_told(db: PgPool) {
    let (shop, pager) = shop_on_call(db).await;
    let app = &shop.app;
    let give_up = async |id: &str, error_class: &str| {
        let letter = Letter { error_class: error_class.to_owned(), ..message(app, id) };
        let letters = letters(app);
        letters.push_dead(Queue::Outbound, &letter, app.clock.now()).await.unwrap();
    };
    let raised = || told(&pager).into_iter().filter(|(_, _, state)| state == "raised").count();
    give_up("one", "refused").await;
    look(app).await;
    look(app).await;
    assert_eq!(raised(), 1);
    // Another of the same kind wakes nobody; the first of another kind does.
    give_up("two", "refused").await;
    look(app).await;
    look(app).await;
    assert_eq!(raised(), 1);
    give_up("three", "timeout").await;
    look(app).await;
    look(app).await;
    assert_eq!(raised(), 2);
    let subjects: Vec<_> = told(&pager).into_iter().map(|(_, subject, _)| subject).collect();
    assert!(subjects[0] != subjects[1] && subjects.iter().all(|it| it.starts_with("outbound/")));
    let message = pager.ledger().alerts()[0].to_string();
    assert!(message.contains("(refused)") && !message.contains("sara@"), "{message}");

    letters(app)
        .delete(Queue::Outbound, &["three".to_owned()], "test", app.clock.now())
        .await
        .unwrap();
    look(app).await;
    let cleared = ("letters_dead".to_owned(), subjects[1].clone(), "cleared".to_owned());
    assert_eq!(told(&pager).last(), Some(&cleared));
}
