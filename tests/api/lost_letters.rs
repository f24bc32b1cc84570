//! What has a row in Postgres has a letter, CONTRACT section 5: also what analytics refused, and also after
//! Redis has lost everything.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use dealix_sandbox::{Fault, Operation, Trouble, cards};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::dead_letters::DeadLetters;
use crate::desk::{look, order};
use crate::redis_server::RedisServer;
use crate::shop::Shop;

const VISITOR: &str = "6f2f6c1e-8b1f-4c86-9a39-0d4d58d0a001";

/// An event that analytics will not have.
async fn refused_event(shop: &Shop) -> String {
    let visit = json!({ "event": "landing_view", "distinct_id": VISITOR });
    shop.app.post("/api/v1/public/events", visit).await;
    let spoil =
        "update outbox set distinct_id = '' where name = 'landing_view' returning uuid::text";
    let uuid: String = sqlx::query_scalar(spoil).fetch_one(&shop.app.db).await.unwrap();
    shop.run_jobs().await;
    assert_eq!(shop.count("outbox where status = 'refused'").await, 1);
    uuid
}

/// An event that was stored and failed five times.
async fn failed_event(shop: &Shop) {
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    shop.settle().await;
    for _ in 1..5 {
        shop.advance(Duration::from_secs(145));
        shop.settle().await;
    }
    shop.sandbox.clear_faults();
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_analytics_refused_is_handed_over_once_and_not_told_to_analytics(db: PgPool) {
    let shop = Shop::open(db).await;
    let uuid = refused_event(&shop).await;
    let mut letters = DeadLetters::in_queue(&shop.app, "analytics");
    let letter = letters.only();
    assert_eq!(letter["id"], format!("outbox:{uuid}"));
    assert_eq!(letter["payload"], json!({ "kind": "outbox_row", "row_id": uuid }));
    assert_eq!((&letter["source"], &letter["error_class"]), (&json!("posthog"), &json!("refused")));
    assert_eq!(letters.ids("due").len(), 1);
    assert_eq!(shop.count("outbox where name = 'dlq_pushed'").await, 0);
    // Handed over, it is looked after once an hour.
    letters.lose_letters();
    shop.run_jobs().await;
    assert_eq!(letters.all(), []);
    shop.advance(Duration::from_secs(60 * 60));
    shop.run_jobs().await;
    assert_eq!(letters.only()["payload"]["row_id"], uuid);
}

#[sqlx::test(migrations = "./migrations")]
async fn after_a_lost_redis_every_entry_with_a_row_is_back_at_once(db: PgPool) {
    let shop = Shop::open(db).await;
    refused_event(&shop).await;
    failed_event(&shop).await;
    let mut queues = ["webhooks", "analytics"].map(|it| DeadLetters::in_queue(&shop.app, it));
    let ids =
        |letters: Vec<(String, Value)>| letters.into_iter().map(|it| it.0).collect::<Vec<_>>();
    let before = queues.each_mut().map(|queue| ids(queue.all()));
    assert_eq!(before.each_ref().map(Vec::len), [1, 1]);
    queues[1].put_aside(&before[1][0], "dead");
    for queue in &mut queues {
        queue.lose_all();
    }
    shop.run_jobs().await;
    assert_eq!(queues.each_mut().map(|queue| ids(queue.all())), before);

    // Also one that comes back with half of what it had, under another start.
    for queue in &mut queues {
        queue.lose_letters();
        queue.start_anew();
    }
    shop.run_jobs().await;
    assert_eq!(queues.each_mut().map(|queue| ids(queue.all())), before);
    // Looked for once, and no more often than before.
    for queue in &mut queues {
        queue.lose_letters();
    }
    shop.run_jobs().await;
    assert_eq!(queues.each_mut().map(|queue| ids(queue.all()).len()), [0, 0]);
    assert_eq!(shop.count("outbox where name = 'dlq_pushed'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_fails_again_after_its_letter_was_deleted_has_a_letter_again(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_event(&shop).await;
    let mut letters = DeadLetters::of(&shop.app);
    let id = letters.only()["id"].as_str().unwrap().to_owned();
    let path = format!("/webhooks/entries/{id}");
    let deleted = order(&shop.app, Method::DELETE, &path).await;
    assert_eq!(deleted.status, StatusCode::OK, "{deleted:?}");
    assert_eq!(shop.count("webhook_events where shelved_at is not null").await, 1);
    // Somebody gives the event back to the workers by hand, and it fails as before.
    let give_back = "update webhook_events set status = 'received', attempts = 4";
    sqlx::query(give_back).execute(&shop.app.db).await.unwrap();
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    shop.advance(Duration::from_secs(60 * 60));
    shop.settle().await;
    assert_eq!(shop.count("webhook_events where status = 'failed'").await, 1);
    assert_eq!(letters.only()["id"], id);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redis_that_may_forget_is_handed_everything_that_has_a_row(db: PgPool) {
    let forgetful = ["--appendonly", "yes", "--appendfsync", "everysec"];
    let redis = RedisServer::start(&forgetful).await;
    let shop = Shop::open_with(db, &[("REDIS_URL", &redis.url(""))]).await;
    for _ in 0..3 {
        failed_event(&shop).await;
    }
    refused_event(&shop).await;
    assert_eq!(shop.count("webhook_events where handed_over_at is not null").await, 3);
    assert_eq!(shop.count("outbox where handed_over_at is not null").await, 1);
    let queues = look(&shop.app, "/queues").await.json();
    assert_eq!((&queues["queues"]["webhooks"], &queues["total_depth"]), (&json!(3), &json!(4)));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_refused_event_is_tried_alone_and_sent_in_the_end(db: PgPool) {
    let shop = Shop::open(db).await;
    refused_event(&shop).await;
    let mut letters = DeadLetters::in_queue(&shop.app, "analytics");
    shop.advance(Duration::from_secs(13 * 60));
    shop.run_jobs().await;
    assert_eq!((&letters.only()["attempt"], &shop.analytics().len()), (&json!(1), &0));
    sqlx::query("update outbox set distinct_id = $1 where status = 'refused'")
        .bind(VISITOR)
        .execute(&shop.app.db)
        .await
        .unwrap();
    shop.advance(Duration::from_secs(2 * 60));
    shop.run_jobs().await;
    assert_eq!(shop.analytics(), ["landing_view"]);
    assert_eq!(shop.count("outbox where status = 'sent'").await, 1);
    assert_eq!(letters.all(), []);
}
