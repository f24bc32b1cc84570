//! The webhook's two stores, CONTRACT section 4: who is told what while one of them, or both, are
//! away, frozen or not to be trusted.

use axum::http::{Method, StatusCode};
use dealix_sandbox::{Fault, Operation, Trouble, cards};
use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;

use crate::dead_letters::DeadLetters;
use crate::desk::order;
use crate::harness::{Answer, WEBHOOK_SECRET};
use crate::proxy::Proxy;
use crate::redis_server::{DURABLE, RedisServer};
use crate::shop::Shop;
use crate::webhooks::event;

const NOWHERE: &str = "redis://127.0.0.1:1";
const ID: &str = "66c164e7-c859-40d2-a844-c762939ae232";

fn assert_dlq(answer: &Answer) {
    let expected = json!({ "status": "dlq", "event_id": ID, "event_type": "payment_paid" });
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, expected));
}

fn assert_unstored(answer: &Answer) {
    let found = (answer.status, answer.code());
    assert_eq!(
        found,
        (StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable".into()),
        "{answer:?}"
    );
    assert!(!answer.header("retry-after").is_empty());
}

/// Each says that the event is kept, or that it is not: a machine that is too busy to be told in time by
/// its stores may only say that. Tells how many were turned away; somebody was not.
fn assert_kept_or_turned_away(answers: &[Answer]) -> usize {
    let away: Vec<_> = answers.iter().filter(|it| it.status != StatusCode::OK).collect();
    for answer in &away {
        assert_unstored(answer);
    }
    assert!(away.len() < answers.len());
    away.len()
}

fn count(answers: &[Answer], word: &str) -> usize {
    answers.iter().filter(|answer| answer.json()["status"] == word).count()
}

async fn deliver_often(shop: &Shop, event: &Value, times: usize) -> Vec<Answer> {
    join_all((0..times).map(|_| shop.deliver(event))).await
}

#[sqlx::test(migrations = "./migrations")]
async fn while_postgres_is_frozen_the_answer_is_dlq_and_the_event_is_not_lost(db: PgPool) {
    let (postgres, url) = Proxy::to_postgres(&db).await;
    let shop = Shop::open_alone(&[("DATABASE_URL", &url)]).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    postgres.freeze();
    let answer = shop.deliver(&envelope).await;
    assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::OK, &json!("dlq")));

    // Nobody else waits for it: in the second after its failure Postgres is not even asked.
    let asked = postgres.asked();
    let mut others = Vec::new();
    for n in 0..10 {
        others.push(shop.deliver(&event(&json!({ "id": n }))).await);
    }
    assert_eq!((count(&others, "dlq"), postgres.asked()), (10, asked));

    postgres.thaw();
    shop.advance(Duration::from_secs(1));
    assert_eq!(shop.deliver(&event(&json!({ "id": "later" }))).await.json()["status"], "ok");
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.count("webhook_events").await, 12);
    assert_eq!(DeadLetters::of(&shop.app).all(), []);
}

#[sqlx::test(migrations = "./migrations")]
async fn while_postgres_is_down_the_answer_is_dlq(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.app.db.close().await;
    assert_dlq(&shop.deliver(&event(&json!({}))).await);
    let letter = DeadLetters::of(&shop.app).only();
    assert_eq!(letter["id"], format!("moyasar:{ID}"));
    assert_eq!((&letter["source"], &letter["error_class"]), (&json!("moyasar"), &json!("storage")));
    assert_eq!((&letter["attempt"], &letter["max_retries"]), (&json!(0), &json!(5)));
    assert_eq!(letter["payload"]["event_type"], "payment_paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_postgres_refuses_goes_to_the_queue_and_spoils_no_other(db: PgPool) {
    let shop = Shop::open(db).await;
    let refuse = "alter table webhook_events add check (dedupe_key <> 'odd')";
    sqlx::query(refuse).execute(&shop.app.db).await.unwrap();
    let events = ["a", "odd", "b", "c"].map(|id| event(&json!({ "id": id })));
    let answers = join_all(events.iter().map(|event| shop.deliver(event))).await;
    let words: Vec<_> = answers.iter().map(|answer| answer.json()["status"].clone()).collect();
    assert_eq!(words, ["ok", "dlq", "ok", "ok"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn with_both_stores_down_it_is_503_and_the_provider_sends_again(db: PgPool) {
    let shop = Shop::open_with(db, &[("REDIS_URL", NOWHERE)]).await;
    shop.app.db.close().await;
    assert_unstored(&shop.deliver(&event(&json!({}))).await);
}

#[sqlx::test(migrations = "./migrations")]
async fn with_both_stores_frozen_it_is_503_for_everybody_at_once(db: PgPool) {
    let (postgres, database_url) = Proxy::to_postgres(&db).await;
    let (redis, redis_url) = Proxy::to_redis().await;
    let stores = [("DATABASE_URL", database_url.as_str()), ("REDIS_URL", &redis_url)];
    let shop = Shop::open_alone(&stores).await;
    postgres.freeze();
    redis.freeze();
    let began = tokio::time::Instant::now();
    for answer in deliver_often(&shop, &event(&json!({})), 20).await {
        assert_unstored(&answer);
    }
    // One after the other they would take 30 s.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    postgres.thaw();
    redis.thaw();
    shop.advance(Duration::from_secs(1));
    assert_eq!(shop.deliver(&event(&json!({}))).await.status, StatusCode::OK);
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redis_that_may_forget_is_not_answered_for(db: PgPool) {
    // The last setting of a name counts.
    for flaw in [
        ["--appendonly", "no"],
        ["--appendfsync", "everysec"],
        ["--maxmemory-policy", "allkeys-lru"],
        ["--no-appendfsync-on-rewrite", "yes"],
    ] {
        let redis = RedisServer::start(&[DURABLE, &flaw].concat()).await;
        let shop = Shop::open_with(db.clone(), &[("REDIS_URL", &redis.url(""))]).await;
        let mut lock = db.begin().await.unwrap();
        sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
        assert_unstored(&shop.deliver(&event(&json!({}))).await);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redis_that_is_out_of_memory_is_not_answered_for(db: PgPool) {
    let settings = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "1"];
    let redis = RedisServer::start(&settings).await;
    let shop = Shop::open_with(db, &[("REDIS_URL", &redis.url(""))]).await;
    shop.app.db.close().await;
    assert_unstored(&shop.deliver(&event(&json!({}))).await);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_same_event_a_hundred_times_at_once_without_redis_is_one(db: PgPool) {
    let shop = Shop::open_with(db, &[("REDIS_URL", NOWHERE)]).await;
    let answers = deliver_often(&shop, &event(&json!({})), 100).await;
    let busy = assert_kept_or_turned_away(&answers);
    assert!(count(&answers, "ok") <= 1);
    assert_eq!(count(&answers, "ok") + count(&answers, "duplicate") + busy, 100);
    assert_eq!(shop.count("webhook_events").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_same_event_a_hundred_times_at_once_without_postgres_is_one_letter(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.app.db.close().await;
    let answers = deliver_often(&shop, &event(&json!({})), 100).await;
    let busy = assert_kept_or_turned_away(&answers);
    assert_eq!(count(&answers, "dlq") + busy, 100);
    DeadLetters::of(&shop.app).only();
}

#[sqlx::test(migrations = "./migrations")]
async fn duplicate_is_answered_only_once_the_other_row_is_committed(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let mut winner = db.begin().await.unwrap();
    let insert = "insert into webhook_events (id, source, dedupe_key, body, body_sha256, status, \
        next_attempt_at, request_id, received_at) values (gen_random_uuid(), 'moyasar', $1, '', '', \
        'done', now(), 'other', now())";
    sqlx::query(insert).bind(ID).execute(&mut *winner).await.unwrap();
    assert_dlq(&shop.deliver(&event(&json!({}))).await);
    // The lock was another's: nobody else is kept from Postgres.
    assert_eq!(shop.deliver(&event(&json!({ "id": "other" }))).await.json()["status"], "ok");
    // Had the answer been `duplicate`, this would have lost the event.
    winner.rollback().await.unwrap();
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where dedupe_key <> 'other'").await, 1);
    assert_eq!(shop.deliver(&event(&json!({}))).await.json()["status"], "duplicate");
}

#[sqlx::test(migrations = "./migrations")]
async fn the_same_id_with_two_bodies_at_once_is_one_event_and_a_question(db: PgPool) {
    let shop = Shop::open(db).await;
    let changed = event(&json!({ "created_at": "2026-01-02T03:04:06Z" }));
    let original = event(&json!({}));
    let both = join_all([&original, &changed, &original].map(|event| shop.deliver(event))).await;
    assert_eq!((count(&both, "ok"), count(&both, "duplicate")), (1, 2));
    let question = ("event_changed".into(), "the event came again with another body".into());
    assert_eq!(shop.reviews().await, [question]);
}

#[sqlx::test(migrations = "./migrations")]
async fn who_hangs_up_loses_neither_their_own_event_nor_anybody_elses(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    let (own, other) = (event(&json!({ "id": "own" })), event(&json!({ "id": "other" })));
    let mut hung_up = Box::pin(shop.deliver(&own));
    assert!(hung_up.as_mut().now_or_never().is_none());
    drop(hung_up);
    assert_eq!(shop.deliver(&other).await.json()["status"], "dlq");
    lock.rollback().await.unwrap();
    shop.app.tasks.stop(Duration::from_secs(5)).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where dedupe_key in ('own', 'other')").await, 2);
}

#[sqlx::test(migrations = "./migrations")]
async fn neither_store_ever_holds_the_secret(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    let body = format!(
        r#"{{ "id" : "{ID}","note":"سلام", "n": 1.50, "secret_token":"{WEBHOOK_SECRET}" }}"#
    );
    let answer = shop.deliver_raw(body.clone()).await;
    assert_eq!(answer.json()["status"], "dlq");
    let letter = DeadLetters::of(&shop.app).only();
    assert!(!letter.to_string().contains(WEBHOOK_SECRET));
    let redacted = body.replace(WEBHOOK_SECRET, "[redacted]");
    assert_eq!(letter["payload"]["body"], redacted);

    lock.rollback().await.unwrap();
    shop.app.app.run_jobs_until_idle().await.unwrap();
    let stored: Vec<u8> =
        sqlx::query_scalar("select body from webhook_events").fetch_one(&db).await.unwrap();
    assert_eq!(String::from_utf8(stored).unwrap(), redacted);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_frozen_redis_does_not_make_webhooks_wait(db: PgPool) {
    let (redis, url) = Proxy::to_redis().await;
    let shop = Shop::open_with(db, &[("REDIS_URL", &url)]).await;
    redis.freeze();
    let events: Vec<_> = (0..10).map(|n| event(&json!({ "id": n }))).collect();
    let answers = join_all(events.iter().map(|event| shop.deliver(event))).await;
    assert_eq!(count(&answers, "ok"), 10);
    assert_eq!(redis.asked(), 0, "it is not even asked");
}

#[sqlx::test(migrations = "./migrations")]
async fn in_mode_sync_an_event_is_settled_in_its_own_request(db: PgPool) {
    let shop = Shop::open_with(db, &[("NEW_QUEUE_ENABLED", "false")]).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    // What is owed to analytics rests, and so does what could not be settled.
    let fault = Fault::before(Operation::FetchPayment, Trouble::status(503));
    shop.sandbox.fault(fault);
    assert_eq!(shop.deliver(&event(&json!({}))).await.json()["status"], "ok");
    shop.sandbox.clear_faults();
    shop.advance(Duration::from_secs(60));
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where status = 'received'").await, 1);
    assert_eq!(shop.count("outbox where status = 'pending'").await, 2);
    assert!(shop.analytics().is_empty());
}

#[sqlx::test(migrations = "./migrations")]
async fn in_mode_sync_a_letter_waits_for_an_operator(db: PgPool) {
    let shop = Shop::open_with(db.clone(), &[("NEW_QUEUE_ENABLED", "false")]).await;
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    assert_dlq(&shop.deliver(&event(&json!({}))).await);
    lock.rollback().await.unwrap();
    shop.app.app.run_jobs_until_idle().await.unwrap();
    DeadLetters::of(&shop.app).only();
}

#[sqlx::test(migrations = "./migrations")]
async fn in_mode_sync_a_replayed_letter_settles_its_payment(db: PgPool) {
    let shop = Shop::open_with(db.clone(), &[("NEW_QUEUE_ENABLED", "false")]).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    assert_eq!(shop.deliver(&envelope).await.json()["status"], "dlq");
    lock.rollback().await.unwrap();
    // The provider fails, so the letter stays although its event is stored.
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    let drained = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!(drained.json()["re_queued"], 1, "{drained:?}");
    assert_eq!(shop.count("webhook_events where status = 'received'").await, 1);
    shop.sandbox.clear_faults();
    let drained = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!(drained.json()["succeeded"], 1, "{drained:?}");
    assert_eq!(shop.count("payments where standing = 'granted'").await, 1);
    assert_eq!(DeadLetters::of(&shop.app).all(), []);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_frozen_posthog_does_not_make_webhooks_wait(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    shop.sandbox.fault(Fault::before(Operation::CaptureBatch, Trouble::Hang));
    let mut jobs = Box::pin(shop.run_jobs());
    let asked = async {
        while shop.sandbox.ledger().requests(Operation::CaptureBatch) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = &mut jobs => panic!("PostHog should hang"),
        () = asked => (),
    }
    // The outbox waits for PostHog all the while, and whoever is first ends it.
    let answer = tokio::select! {
        () = jobs => panic!("the webhook waited for PostHog"),
        answer = shop.deliver(&envelope) => answer,
    };
    assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::OK, &json!("ok")));
    assert_eq!(shop.analytics(), [""; 0]);

    // What the sale owes to analytics is committed with it; PostHog is not needed for that.
    shop.sandbox.clear_faults();
    shop.run_jobs().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}
