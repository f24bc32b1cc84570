//! An operator's orders on the dead-letter queues while the service dies: given again until they are
//! answered, they are carried out once.

use dealix::queue::{Payload, Queue};
use dealix_sandbox::{Fault, Operation, Trouble};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::world::{Bought, World, good_card, until};

const DLQ: &str = "/api/v1/admin/dlq";

/// A failed event whose letter waits, and its id.
async fn a_letter(db: PgPool, step: &'static str) -> (World, Bought, String) {
    let world = World::new(db, &[step]).await;
    let bought = world.buy().await;
    world.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    world.pay(&bought, good_card()).await;
    world.until_given_up().await;
    world.sandbox.clear_faults();
    let id = until("its letter is there", async || {
        let listed = ask(&world, Method::GET, "/webhooks?state=scheduled").await?;
        listed["entries"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    (world, bought, id)
}

/// The answer, if there was one and it was not a failure.
async fn ask(world: &World, method: Method, path: &str) -> Option<Value> {
    let path = format!("{DLQ}{path}");
    let (status, answer) = world.ask_as_admin(method, &path, &json!({})).await?;
    (status == StatusCode::OK).then_some(answer)
}

async fn depth(world: &World) -> Option<u64> {
    ask(world, Method::GET, "/queues").await?["queues"]["webhooks"].as_u64()
}

async fn end_paid(world: World, bought: &Bought) {
    world.until_replayed(bought).await;
    world.hold_the_books_of_one_sale().await;
    world.end().await;
}

/// The queue is drained until nothing is left.
pub async fn a_drain(db: PgPool, step: &'static str) {
    let (world, bought, _) = a_letter(db, step).await;
    until("the queue is drained", async || {
        ask(&world, Method::POST, "/webhooks/drain").await;
        (depth(&world).await? == 0).then_some(())
    })
    .await;
    end_paid(world, &bought).await;
}

/// One entry is retried until it is gone.
pub async fn a_retry(db: PgPool, step: &'static str) {
    let (world, bought, id) = a_letter(db, step).await;
    until("it is gone", async || {
        ask(&world, Method::POST, &format!("/webhooks/entries/{id}/retry")).await;
        (depth(&world).await? == 0).then_some(())
    })
    .await;
    end_paid(world, &bought).await;
}

/// A drain is ordered with a key until it is answered.
pub async fn a_drain_with_a_key(db: PgPool, step: &'static str) {
    let (world, bought, _) = a_letter(db, step).await;
    let path = format!("{DLQ}/webhooks/drain");
    let give = async || world.ask_as_admin_once(&path, "a-key").await;
    until("it is answered", async || match give().await {
        Some((StatusCode::OK, _)) if depth(&world).await? == 0 => Some(()),
        Some((StatusCode::OK, told)) => panic!("{told}"),
        Some((StatusCode::CONFLICT, told)) => {
            // Whoever had the key is dead, and the time in which it could have been at it passes.
            assert_eq!(told["code"], "request-in-progress");
            let pass = "update idempotency_keys set expires_at = now() where answer is null";
            sqlx::query(pass).execute(&world.db).await.unwrap();
            None
        }
        _ => None,
    })
    .await;
    world.until_dead().await;
    // From now on the answer is the same.
    let answers = [give().await, give().await].map(|answer| answer.unwrap().1);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(
        world.count("idempotency_keys where answer is not null and scope like '%/drain'").await,
        1
    );
    end_paid(world, &bought).await;
}

/// The state of every redrive that was ordered.
async fn redrives(world: &World) -> Option<Vec<(String, String)>> {
    let listed = ask(world, Method::GET, "/webhooks/redrive").await?;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let redrives = listed["redrives"].as_array()?.iter();
    Some(redrives.map(|it| (text(&it["id"]), text(&it["status"]))).collect())
}

/// Everything is redriven; ordered again where nobody answered.
pub async fn a_redrive(db: PgPool, step: &'static str) {
    let (world, bought, _) = a_letter(db, step).await;
    until("it is ordered", async || {
        ask(&world, Method::POST, "/webhooks/redrive").await;
        (!redrives(&world).await?.is_empty()).then_some(())
    })
    .await;
    until("it is carried out", async || {
        let are_over = redrives(&world).await?.iter().all(|(_, status)| status == "completed");
        (are_over && depth(&world).await? == 0).then_some(())
    })
    .await;
    end_paid(world, &bought).await;
}

/// A redrive that stopped by itself is let go on.
pub async fn a_stopped_redrive(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    for number in 0..9 {
        let body = r#"{"status":"new"}"#.to_owned();
        world.owe(Queue::Outbound, &format!("job:{number}"), Payload::Job { body }).await;
    }
    let path = format!("{DLQ}/outbound/redrive");
    let ordered = world.ask_as_admin(Method::POST, &path, &json!({})).await.unwrap().1;
    let path = format!("{path}/{}", ordered["id"].as_str().unwrap());
    // Nobody does what that queue owes: it stops by itself, and is let go on.
    until("it has stopped", async || {
        let (_, shown) = world.ask_as_admin(Method::GET, &path, &json!({})).await?;
        (shown["status"] == "stopped").then_some(())
    })
    .await;
    until("it was let go on", async || {
        world.ask_as_admin(Method::POST, &format!("{path}/resume"), &json!({})).await?;
        let resumed = "audit_log where action = 'dlq.redrive_resumed'";
        (world.count(resumed).await > 0).then_some(())
    })
    .await;
    world.until_dead().await;
    until("it has stopped again", async || {
        let (_, shown) = world.ask_as_admin(Method::GET, &path, &json!({})).await?;
        (shown["status"] == "stopped" && shown["remaining"] == 9).then_some(())
    })
    .await;
    world.end().await;
}

async fn delete(world: &World, id: &str) {
    until("it is deleted", async || {
        ask(world, Method::DELETE, &format!("/webhooks/entries/{id}")).await;
        (depth(world).await? == 0).then_some(())
    })
    .await;
}

async fn restore(world: &World) {
    until("it is there again", async || {
        ask(world, Method::POST, "/webhooks/restore").await;
        (depth(world).await? == 1).then_some(())
    })
    .await;
}

/// An entry is deleted, and had back.
pub async fn a_deletion(db: PgPool, step: &'static str) {
    let (world, bought, id) = a_letter(db, step).await;
    delete(&world, &id).await;
    assert_eq!(world.count("webhook_events where shelved_at is not null").await, 1);
    restore(&world).await;
    world.until_dead().await;
    assert_eq!(world.count("webhook_events where shelved_at is not null").await, 0);
    until("it is replayed", async || {
        ask(&world, Method::POST, "/webhooks/drain").await;
        (depth(&world).await? == 0).then_some(())
    })
    .await;
    end_paid(world, &bought).await;
}

/// The service dies while an entry is had back by its id.
pub async fn a_restored_entry(db: PgPool, step: &'static str) {
    let (world, bought, id) = a_letter(db, step).await;
    delete(&world, &id).await;
    let path = format!("{DLQ}/webhooks/restore");
    until("it is there again", async || {
        let body = json!({ "id": id });
        let (status, _) = world.ask_as_admin(Method::POST, &path, &body).await?;
        (status == StatusCode::OK && depth(&world).await? == 1).then_some(())
    })
    .await;
    world.until_dead().await;
    assert_eq!(world.count("webhook_events where shelved_at is not null").await, 0);
    until("it is replayed", async || {
        ask(&world, Method::POST, "/webhooks/drain").await;
        (depth(&world).await? == 0).then_some(())
    })
    .await;
    end_paid(world, &bought).await;
}

/// A queue is paused, and goes on.
pub async fn a_pause(db: PgPool, step: &'static str) {
    let (world, bought, _) = a_letter(db, step).await;
    for (way, is_paused) in [("pause", true), ("resume", false)] {
        until("it is said and done", async || {
            ask(&world, Method::POST, &format!("/webhooks/{way}")).await;
            let stats = ask(&world, Method::GET, "/stats").await?;
            (stats["webhooks"]["paused"] == is_paused).then_some(())
        })
        .await;
    }
    world.until_dead().await;
    end_paid(world, &bought).await;
}

/// What is owed is edited; the order is written twice, and the first version is kept.
pub async fn an_edit(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let body = r#"{"status":"new"}"#.to_owned();
    world.owe(Queue::Outbound, "job:1", Payload::Job { body }).await;
    let path = format!("{DLQ}/outbound/entries/job:1");
    let edit = json!({ "payload": { "status": "mended" }, "reason": "a typo" });
    until("it is edited", async || {
        world.ask_as_admin(Method::PUT, &path, &edit).await;
        let entry = ask(&world, Method::GET, "/outbound/entries/job:1").await?;
        (entry["is_edited"] == true).then_some(())
    })
    .await;
    world.until_dead().await;
    assert!(world.count("audit_log where action = 'dlq.edited'").await >= 1);
    world.end().await;
}

/// Analytics has taken an event that it had refused, and the service dies before it writes that down.
pub async fn a_second_send(db: PgPool, step: &'static str) {
    let world = World::new(db, &[step]).await;
    let refused = "insert into outbox (uuid, name, distinct_id, properties, happened_at, status, next_attempt_at)
        values ('00000000-0000-0000-0000-000000000001', 'landing_view', 'visitor', '{}', now(), 'refused', now())";
    sqlx::query(refused).execute(&world.db).await.unwrap();
    let row_id = Uuid::from_u128(1);
    world.owe(Queue::Analytics, "outbox:1", Payload::OutboxRow { row_id }).await;
    until("it is sent", async || {
        ask(&world, Method::POST, "/analytics/drain").await;
        (world.count("outbox where status = 'sent'").await == 1).then_some(())
    })
    .await;
    world.until_dead().await;
    world.end().await;
}
