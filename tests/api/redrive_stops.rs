//! Redrives, CONTRACT section 5: when one stops by itself, rests, or is taken up by another instance.

use std::time::Duration;

use axum::http::Method;
use dealix::queue::Queue;
use dealix::replay::{Done, Undone};
use dealix_sandbox::{Fault, Operation, Trouble};
use futures_util::FutureExt;
use serde_json::json;
use sqlx::PgPool;

use crate::desk::{failed_sale, list, look, message, order, order_with, push};
use crate::harness::{ADMIN_KEY, TestApp};
use crate::redriver::{LEASE, Redriver, completed, numbered};
use crate::shop::Shop;

#[sqlx::test(migrations = "./migrations")]
async fn a_redrive_stops_when_too_many_fail_again_and_goes_on_when_it_is_told(db: PgPool) {
    let desk = Redriver::start(db);
    desk.owe(numbered("job", 60)).await;
    desk.judge(|letter| match letter.id.as_str() {
        // Nine of twenty succeed; the twentieth decides.
        id if id < "job:009" => Ok(Done::Here),
        _ => Err(Undone::failed("refused", "no")),
    });
    let id = desk.order(&json!({})).await;
    desk.run().await;
    let (status, because, counts) = desk.counts(&id).await;
    assert_eq!((status.as_str(), because), ("stopped", json!("failures")));
    let tried = desk.tried();
    assert!((20..30).contains(&tried.len()), "whoever was begun is finished: {tried:?}");
    let failed = tried.len() as u64 - 9;
    assert_eq!(counts, [9, failed, 0, 51 - failed]);
    desk.app.clock.advance(Duration::from_secs(600));
    assert!(!desk.step().await, "it is over until somebody says otherwise");

    desk.judge(|_| Ok(Done::Here));
    assert_eq!(desk.say(&id, "resume").await.json()["status"], "running");
    desk.run().await;
    assert_eq!(desk.tried(), numbered("job", 60)[tried.len()..]);
    assert_eq!(desk.counts(&id).await, completed(60 - failed, failed, 0));
}

#[sqlx::test(migrations = "./migrations")]
async fn the_share_at_which_a_redrive_stops_is_the_operators(db: PgPool) {
    let desk = Redriver::start(db);
    desk.owe(numbered("job", 40)).await;
    desk.judge(|letter| match letter.id.as_str() {
        "job:003" => Err(Undone::failed("refused", "no")),
        _ => Ok(Done::Here),
    });
    let id = desk.order(&json!({ "stop_at_failure_percent": 0 })).await;
    desk.run().await;
    let (status, because, [succeeded, failed, ..]) = desk.counts(&id).await;
    assert_eq!((status.as_str(), because, failed), ("stopped", json!("failures"), 1));
    assert!((19..29).contains(&succeeded), "{succeeded}");
    desk.cancel(&id).await;
    let id = desk.order(&json!({ "stop_at_failure_percent": 100 })).await;
    desk.judge(|_| Err(Undone::failed("refused", "no")));
    desk.run().await;
    assert_eq!(desk.counts(&id).await, completed(0, 40 - succeeded, 0), "once a stop is enough");
}

#[sqlx::test(migrations = "./migrations")]
async fn the_first_one_goes_alone_if_that_is_ordered(db: PgPool) {
    let desk = Redriver::start(db);
    desk.owe(["a", "b", "c"]).await;
    desk.judge(|_| Err(Undone::failed("refused", "no")));
    let id = desk.order(&json!({ "one_first": true })).await;
    desk.run().await;
    assert_eq!(desk.tried(), ["a"]);
    let (status, because, counts) = desk.counts(&id).await;
    assert_eq!((status.as_str(), because), ("stopped", json!("first_failed")));
    assert_eq!(counts, [0, 1, 0, 2]);
    // When it goes on, one goes alone again.
    desk.say(&id, "resume").await;
    desk.run().await;
    assert_eq!(desk.tried(), ["b"]);
    desk.judge(|_| Ok(Done::Here));
    desk.say(&id, "resume").await;
    desk.run().await;
    assert_eq!((desk.tried(), desk.counts(&id).await), (vec!["c".to_owned()], completed(1, 2, 0)));

    desk.owe(["d", "e"]).await;
    let filter = json!({ "filter": { "state": "ready" }, "one_first": true });
    let id = desk.order(&filter).await;
    assert!(desk.step().await);
    assert_eq!(desk.tried(), ["d"]);
    desk.run().await;
    assert_eq!((desk.tried(), desk.counts(&id).await), (vec!["e".to_owned()], completed(2, 0, 0)));
}

#[sqlx::test(migrations = "./migrations")]
async fn while_postgres_is_away_a_redrive_waits_and_leaves_nobody_behind(db: PgPool) {
    let desk = Redriver::start(db);
    let ids = numbered("job", 30);
    desk.owe(&ids).await;
    desk.owe_dead("last").await;
    let before = (desk.ids("ready").await, desk.ids("dead").await);
    desk.judge(|_| Err(sqlx::Error::PoolTimedOut.into()));
    let id = desk.order(&json!({})).await;
    for _ in 0..10 {
        desk.run().await;
        desk.app.clock.advance(Duration::from_secs(5));
    }
    assert!(desk.tried().iter().all(|id| ids[..8].contains(id)), "it stays at the first ones");
    assert_eq!(desk.counts(&id).await, ("running".into(), json!(null), [0, 0, 0, 31]));
    assert_eq!((desk.ids("ready").await, desk.ids("dead").await), before, "as if untouched");
    desk.judge(|_| Ok(Done::Here));
    desk.run().await;
    assert_eq!(desk.tried(), [ids, vec!["last".into()]].concat());
    assert_eq!(desk.counts(&id).await, completed(31, 0, 0));
}

#[sqlx::test(migrations = "./migrations")]
async fn what_is_away_without_a_breaker_is_left_behind_and_in_the_end_stops_it(db: PgPool) {
    let desk = Redriver::start(db);
    desk.owe(numbered("job", 60)).await;
    desk.judge(|letter| match letter.id.as_str() {
        "job:001" => Err(Undone::away("in_hand")),
        _ => Ok(Done::Here),
    });
    let id = desk.order(&json!({})).await;
    desk.run().await;
    let (status, _, [_, _, held, _]) = desk.counts(&id).await;
    assert_eq!((status.as_str(), held), ("running", 1));
    desk.judge(|_| Err(Undone::away("timeout")));
    while desk.counts(&id).await.0 == "running" {
        desk.app.clock.advance(Duration::from_secs(5));
        desk.run().await;
    }
    let (status, because, [.., held, _]) = desk.counts(&id).await;
    assert_eq!((status.as_str(), because), ("stopped", json!("failures")));
    assert!((10..30).contains(&held), "{held}");
    let left = desk.ids("ready").await.len() + desk.ids("scheduled").await.len();
    assert_eq!(desk.show(&id).await["succeeded"], 60 - left, "nothing is lost");
}

#[sqlx::test(migrations = "./migrations")]
async fn another_instance_goes_on_when_the_lease_of_the_first_has_ended(db: PgPool) {
    let desk = Redriver::start(db);
    let ids = numbered("job", 12);
    desk.owe(&ids).await;
    let id = desk.order(&json!({})).await;
    desk.judge_slowly(|_| std::future::pending().boxed());
    {
        let mut step = std::pin::pin!(desk.redrives.step());
        while desk.ids("in_flight").await.is_empty() || desk.tried().is_empty() {
            assert!(step.as_mut().now_or_never().is_none());
        }
        // As if its process had ended.
    }
    desk.judge(|_| Ok(Done::Here));
    let other = desk.another();
    assert!(!other.step().await.unwrap(), "somebody has it");
    desk.app.clock.advance(LEASE + Duration::from_secs(1));
    assert!(!other.step().await.unwrap(), "its letters come back first");
    assert_eq!(desk.ids("ready").await.len(), 12);
    desk.app.clock.advance(LEASE);
    desk.tried();
    while other.step().await.unwrap() {}
    assert_eq!(desk.tried(), ids, "each once, and none is left behind");
    assert_eq!(desk.counts(&id).await, completed(12, 0, 0));
}

#[sqlx::test(migrations = "./migrations")]
async fn two_instances_at_once_take_no_letter_twice(db: PgPool) {
    let desk = Redriver::start(db);
    let ids = numbered("job", 300);
    desk.owe(&ids).await;
    let id = desk.order(&json!({})).await;
    let other = desk.another();
    while desk.counts(&id).await.0 == "running" {
        let (one, two) = tokio::join!(desk.redrives.step(), other.step());
        assert!(!(one.unwrap() && two.unwrap()) || desk.counts(&id).await.0 != "running");
    }
    assert_eq!(desk.tried_sorted(), ids);
    assert_eq!(desk.counts(&id).await, completed(300, 0, 0));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redrive_stops_when_the_breaker_of_the_provider_is_open(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = failed_sale(&shop).await;
    let breaker = |word: &'static str| format!("/api/v1/admin/circuit-breakers/moyasar/{word}");
    let why = json!({ "reason": "a drill", "ttl_s": 3600 });
    shop.app.post_as(ADMIN_KEY, &breaker("open"), why).await;
    let before = list(&shop.app, "/webhooks").await;
    let ordered = order(&shop.app, Method::POST, "/webhooks/redrive").await.json();
    let path = format!("/webhooks/redrive/{}", ordered["id"].as_str().unwrap());
    shop.run_jobs().await;
    let stopped = look(&shop.app, &path).await.json();
    assert_eq!(
        (&stopped["status"], &stopped["stopped_because"]),
        (&json!("stopped"), &json!("breaker_open"))
    );
    assert_eq!(
        (&stopped["held"], &stopped["remaining"]),
        (&json!(0), &json!(1)),
        "nobody is left behind"
    );
    assert_eq!(list(&shop.app, "/webhooks").await, before);

    shop.app.post_as(ADMIN_KEY, &breaker("reset"), json!({})).await;
    order(&shop.app, Method::POST, &format!("{path}/resume")).await;
    shop.run_jobs().await;
    let done = look(&shop.app, &path).await.json();
    assert_eq!((&done["status"], &done["succeeded"]), (&json!("completed"), &json!(1)));
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redrive_stops_when_the_breaker_of_analytics_is_open(db: PgPool) {
    let shop = Shop::open(db).await;
    for number in 0..12 {
        let row_id = uuid::Uuid::from_u128(number);
        let refused = "insert into outbox (uuid, name, distinct_id, properties, happened_at, status, next_attempt_at)
            values ($1, 'landing_view', 'visitor', '{}', now(), 'refused', now())";
        sqlx::query(refused).bind(row_id).execute(&shop.app.db).await.unwrap();
        let payload = dealix::queue::Payload::OutboxRow { row_id };
        let letter = crate::desk::letter(&shop.app, &format!("outbox:{row_id}"), payload);
        push(&shop.app, Queue::Analytics, &letter).await;
    }
    order(&shop.app, Method::POST, "/analytics/pause").await;
    shop.sandbox.fault(Fault::before(Operation::CaptureBatch, Trouble::status(503)));
    let ordered = order(&shop.app, Method::POST, "/analytics/redrive").await.json();
    let path = format!("/analytics/redrive/{}", ordered["id"].as_str().unwrap());
    for _ in 0..8 {
        shop.run_jobs().await;
        shop.advance(Duration::from_secs(5));
    }
    let stopped = look(&shop.app, &path).await.json();
    assert_eq!(
        (&stopped["status"], &stopped["stopped_because"]),
        (&json!("stopped"), &json!("breaker_open"))
    );
    let asked = shop.sandbox.ledger().requests(Operation::CaptureBatch);
    assert!(asked <= 12, "the breaker was heard: {asked}");
    assert_eq!(list(&shop.app, "/analytics").await.len(), 12, "nothing is lost");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_queue_that_nobody_works_for_stops_its_redrive(db: PgPool) {
    let app = TestApp::start(db);
    push(&app, Queue::CrmSync, &message(&app, "job:1")).await;
    let ordered = order(&app, Method::POST, "/crm_sync/redrive").await.json();
    app.app.run_jobs_until_idle().await.unwrap();
    let path = format!("/crm_sync/redrive/{}", ordered["id"].as_str().unwrap());
    let stopped = look(&app, &path).await.json();
    assert_eq!(
        (&stopped["stopped_because"], &stopped["remaining"]),
        (&json!("no_handler"), &json!(1))
    );
    assert_eq!(list(&app, "/crm_sync?state=ready").await.len(), 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn in_mode_sync_a_redrive_is_carried_out_all_the_same(db: PgPool) {
    let shop = Shop::open_with(db, &[("NEW_QUEUE_ENABLED", "false")]).await;
    let bought = shop.buy().await;
    shop.pay(&bought, dealix_sandbox::cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    let body = serde_json::to_string(&envelope).unwrap();
    let received_at = shop.app.clock.now();
    let event_id = envelope["id"].as_str().unwrap().to_owned();
    let id = format!("moyasar:{event_id}");
    let payload = dealix::queue::Payload::Event { event_id, event_type: None, received_at, body };
    push(&shop.app, Queue::Webhooks, &crate::desk::letter(&shop.app, &id, payload)).await;
    let reason = json!({ "reason": "while the new queue is off" });
    let ordered = order_with(&shop.app, Method::POST, "/webhooks/redrive", &reason).await.json();
    shop.app.app.run_jobs_until_idle().await.unwrap();
    let path = format!("/webhooks/redrive/{}", ordered["id"].as_str().unwrap());
    assert_eq!(look(&shop.app, &path).await.json()["succeeded"], 1);
    assert_eq!(shop.count("webhook_events").await, 1);
}
