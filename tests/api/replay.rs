//! Dead letters, CONTRACT section 5: what enters, how it is replayed, and what becomes of it.

use std::time::Duration;

use dealix_sandbox::{Fault, Operation, Payment, Trouble, cards};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::dead_letters::DeadLetters;
use crate::harness::TestApp;
use crate::health::{check, checked};
use crate::proxy::Proxy;
use crate::shop::{Bought, Shop};
use crate::webhooks::event;

/// A sale whose webhook only Redis took.
async fn sale_in_the_queue(shop: &Shop, db: &PgPool) -> (Bought, Value) {
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    assert_eq!(shop.deliver(&envelope).await.json()["status"], "dlq");
    lock.rollback().await.unwrap();
    (bought, envelope)
}

/// A sale whose webhook was stored, and failed five times.
async fn failed_sale(shop: &Shop) -> (Bought, Payment) {
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    shop.settle().await;
    for _ in 1..5 {
        shop.advance(Duration::from_secs(145));
        shop.settle().await;
    }
    assert_eq!(shop.count("webhook_events where status = 'failed'").await, 1);
    (bought, payment)
}

async fn run(shop: &Shop) {
    shop.app.app.run_jobs_until_idle().await.unwrap();
}

async fn dlq(app: &TestApp) -> Value {
    check(&checked(app).await.json(), "dlq").clone()
}

#[sqlx::test(migrations = "./migrations")]
async fn a_replay_inserts_once_and_the_event_is_settled_once(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let (bought, _) = sale_in_the_queue(&shop, &db).await;
    let waiting = dlq(&shop.app).await;
    assert_eq!((&waiting["status"], &waiting["depth"]), (&json!("ok"), &json!(1)));
    run(&shop).await;
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.count("webhook_events where status = 'done'").await, 1);
    assert_eq!(shop.count("payment_effects where effect = 'granted'").await, 1);
    assert_eq!(shop.count("outbox where name = 'dlq_pushed'").await, 1);
    assert_eq!(shop.count("outbox where name = 'webhook_failed'").await, 0);
    assert_eq!(DeadLetters::of(&shop.app).all(), []);
    assert_eq!(dlq(&shop.app).await["depth"], 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_retry_of_the_provider_is_processed_as_normal_and_the_letter_is_superseded(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let (bought, envelope) = sale_in_the_queue(&shop, &db).await;
    assert_eq!(shop.deliver(&envelope).await.json()["status"], "ok");
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.count("webhook_events").await, 1);
    assert_eq!(shop.count("payment_effects where effect = 'granted'").await, 1);
    assert_eq!(shop.count("outbox where name = 'dlq_pushed'").await, 1);
    assert_eq!(DeadLetters::of(&shop.app).all(), []);
    // And the other way round: what a replay brought in is a duplicate when it comes again.
    assert_eq!(shop.deliver(&envelope).await.json()["status"], "duplicate");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_failed_five_times_is_retried_by_the_queue_alone(db: PgPool) {
    let shop = Shop::open(db).await;
    let (bought, _) = failed_sale(&shop).await;
    let letter = DeadLetters::of(&shop.app).only();
    assert_eq!(letter["payload"]["kind"], "stored_event");
    let wait = letter["next_attempt_at"].as_i64().unwrap() - letter["created_at"].as_i64().unwrap();
    assert!((8 * 60_000..=12 * 60_000).contains(&wait), "{wait}");
    for name in ["webhook_failed", "dlq_pushed"] {
        let sent = shop.analytics().iter().filter(|event| *event == name).count();
        assert_eq!(sent, 1, "{name}");
    }
    let asked = shop.sandbox.ledger().requests("fetch_payment");
    shop.advance(Duration::from_secs(7 * 60));
    run(&shop).await;
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), asked, "too early");

    // The provider's own retry is no way around the queue, and no second event.
    shop.sandbox.clear_faults();
    let stored: Vec<u8> = sqlx::query_scalar("select body from webhook_events")
        .fetch_one(&shop.app.db)
        .await
        .unwrap();
    let again = shop.deliver(&serde_json::from_slice(&stored).unwrap()).await;
    assert_eq!(again.json()["status"], "duplicate");
    run(&shop).await;
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), asked, "still too early");
    assert_eq!(shop.count("webhook_events where status = 'failed'").await, 1);
    DeadLetters::of(&shop.app).only();

    shop.advance(Duration::from_secs(5 * 60));
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.count("webhook_events where status = 'done'").await, 1);
    assert_eq!(DeadLetters::of(&shop.app).all(), []);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_failed_event_waits_for_redis_to_be_handed_over(db: PgPool) {
    let (redis, url) = Proxy::to_redis().await;
    let shop = Shop::open_with(db, &[("REDIS_URL", &url)]).await;
    let event = event(&json!({}));
    shop.deliver(&event).await;
    sqlx::query("update webhook_events set status = 'failed', attempts = 5")
        .execute(&shop.app.db)
        .await
        .unwrap();
    redis.freeze();
    shop.app.app.run_jobs_until_idle().await.unwrap_err();
    assert_eq!(shop.count("webhook_events where handed_over_at is null").await, 1);
    assert_eq!(shop.count("outbox where name = 'dlq_pushed'").await, 0);
    redis.thaw();
    run(&shop).await;
    assert_eq!(shop.count("webhook_events where handed_over_at is not null").await, 1);
    assert_eq!(shop.count("outbox where name = 'dlq_pushed'").await, 1);
    DeadLetters::of(&shop.app).only();
}

#[sqlx::test(migrations = "./migrations")]
async fn a_letter_that_keeps_failing_backs_off_and_is_dead_after_five_attempts(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    let mut letters = DeadLetters::of(&shop.app);
    let asked = shop.sandbox.ledger().requests("fetch_payment");
    shop.advance(Duration::from_secs(12 * 60));
    for (attempt, minutes) in [(1, 1), (2, 5), (3, 30), (4, 120)] {
        run(&shop).await;
        let letter = letters.only();
        assert_eq!(letter["attempt"], attempt);
        assert_eq!(letter["error_class"], "refused", "{letter}");
        let wait = letter["next_attempt_at"].as_i64().unwrap()
            - letter["last_attempt_at"].as_i64().unwrap();
        let least = minutes * 48_000;
        assert!((least..=minutes * 72_000).contains(&wait), "{attempt}: {wait}");
        shop.advance(Duration::from_millis(u64::try_from(least).unwrap() - 1));
        run(&shop).await;
        assert_eq!(letters.only()["attempt"], attempt, "too early");
        shop.advance(Duration::from_secs(30 * 60 * 60));
    }
    run(&shop).await;
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), asked + 5);
    assert_eq!(letters.ids("dead").len(), 1);
    assert_eq!((letters.only()["attempt"].clone(), letters.ids("due").len()), (json!(5), 0));
    let health = dlq(&shop.app).await;
    assert_eq!(
        (&health["status"], &health["reason"]),
        (&json!("degraded"), &json!("dead_letters"))
    );
    // It stays there, and Postgres still knows the event.
    shop.advance(Duration::from_secs(30 * 60 * 60));
    run(&shop).await;
    assert_eq!(letters.ids("dead").len(), 1);
    assert_eq!(shop.count("webhook_events where status = 'failed'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_outage_of_the_provider_is_no_attempt_and_holds_only_whom_it_concerns(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let (bought, _) = failed_sale(&shop).await;
    shop.sandbox.clear_faults();
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)));
    let mut letters = DeadLetters::of(&shop.app);
    shop.advance(Duration::from_secs(12 * 60));
    for _ in 0..8 {
        run(&shop).await;
        assert_eq!(letters.only()["attempt"], 0);
        shop.advance(Duration::from_secs(6 * 60));
    }
    // An event that only needs Postgres does not wait behind it.
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    assert_eq!(shop.deliver(&event(&json!({}))).await.json()["status"], "dlq");
    lock.rollback().await.unwrap();
    for _ in 0..2 {
        run(&shop).await;
    }
    assert_eq!(shop.count("webhook_events").await, 2);

    shop.sandbox.clear_faults();
    shop.advance(Duration::from_secs(6 * 60));
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_outage_of_postgres_is_no_attempt(db: PgPool) {
    let (postgres, url) = Proxy::to_postgres(&db).await;
    let shop = Shop::open_alone(&[("DATABASE_URL", &url)]).await;
    let (bought, _) = sale_in_the_queue(&shop, &db).await;
    postgres.freeze();
    shop.app.app.run_jobs_until_idle().await.unwrap_err();
    postgres.thaw();
    let mut letters = DeadLetters::of(&shop.app);
    assert_eq!(letters.only()["attempt"], 0);
    shop.advance(Duration::from_secs(31));
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(letters.all(), []);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_letter_whose_worker_died_comes_back_and_is_replayed_alone(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let (bought, _) = sale_in_the_queue(&shop, &db).await;
    let mut letters = DeadLetters::of(&shop.app);
    let id = letters.all().remove(0).0;
    letters.abandon(&id);
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!((letters.all(), letters.ids("leased").len()), (vec![], 0));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_letter_that_kills_its_workers_is_parked_as_poison(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    shop.sandbox.clear_faults();
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)));
    let mut letters = DeadLetters::of(&shop.app);
    let id = letters.all().remove(0).0;
    // Deaths count only in a row: a worker that gives it back lives.
    for _ in 0..5 {
        letters.abandon(&id);
        run(&shop).await;
        assert_eq!(letters.ids("due"), std::slice::from_ref(&id));
        shop.advance(Duration::from_secs(6 * 60));
    }
    // The first may have died of another; then three with nothing else in hand.
    letters.abandon(&id);
    letters.count_deaths(&id, 3);
    run(&shop).await;
    assert_eq!(letters.ids("dead"), [id]);
    assert_eq!(letters.only()["error_class"], "poison");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_letter_that_nobody_can_read_goes_to_the_dead_and_stops_nothing(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let (bought, _) = sale_in_the_queue(&shop, &db).await;
    let mut letters = DeadLetters::of(&shop.app);
    letters.put("broken", b"{\"v\":1,");
    letters.put("bytes", &[0xff, 0xfe]);
    letters.put("newer", br#"{"v":2,"of":"tomorrow"}"#);
    for _ in 0..3 {
        run(&shop).await;
        shop.advance(Duration::from_secs(1));
    }
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(letters.ids("dead"), ["broken", "bytes"]);
    // Whoever wrote it will come back for it.
    assert_eq!(letters.ids("due"), ["newer"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redis_that_forgot_its_scripts_is_no_trouble(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let (bought, _) = sale_in_the_queue(&shop, &db).await;
    DeadLetters::of(&shop.app).flush_scripts();
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn two_instances_replay_a_letter_once(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let (bought, _) = sale_in_the_queue(&shop, &db).await;
    let moyasar = shop.sandbox.moyasar_url();
    let key = ("MOYASAR_SECRET_KEY", shop.sandbox.secret_key());
    let other = TestApp::start_with(db, &[("MOYASAR_BASE_URL", moyasar.as_str()), key]);
    let (one, two) = futures_util::future::join(
        Box::pin(shop.app.app.run_jobs_until_idle()),
        Box::pin(other.app.run_jobs_until_idle()),
    )
    .await;
    one.and(two).unwrap();
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.count("payment_effects where effect = 'granted'").await, 1);
    assert_eq!(DeadLetters::of(&shop.app).all(), []);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_old_letter_is_a_reason_to_look(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    sale_in_the_queue(&shop, &db).await;
    shop.advance(Duration::from_secs(16 * 60));
    let health = dlq(&shop.app).await;
    assert_eq!((&health["status"], &health["reason"]), (&json!("degraded"), &json!("long_wait")));
    assert_eq!((&health["depth"], &health["oldest_age_s"]), (&json!(1), &json!(960)));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_postgres_that_takes_nothing_from_us_is_away_and_no_attempt(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let mut letters = DeadLetters::of(&shop.app);
    // Read-only after a failover, a login that is refused, a right or a table that is missing.
    for code in ["25006", "28P01", "42501", "42P01"] {
        let refuse = format!(
            "create function refuse() returns trigger language plpgsql as
                 $$ begin raise exception 'no' using errcode = '{code}'; end $$;
             create trigger refuse before insert on webhook_events execute function refuse()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(&db).await.unwrap();
        let envelope = event(&json!({ "id": code, "type": "balance_transferred" }));
        assert_eq!(shop.deliver(&envelope).await.json()["status"], "dlq", "{code}");
        for _ in 0..8 {
            run(&shop).await;
            assert_eq!(letters.only()["attempt"], 0, "{code}");
            shop.advance(Duration::from_secs(6 * 60));
        }
        assert_eq!(shop.deliver(&envelope).await.json()["status"], "dlq");
        sqlx::raw_sql("drop function refuse() cascade").execute(&db).await.unwrap();
        // In the second after its failure nobody else waits for it.
        assert_eq!(shop.deliver(&envelope).await.json()["status"], "dlq");
        shop.advance(Duration::from_secs(5));
        run(&shop).await;
        assert_eq!(letters.all(), []);
    }
    assert_eq!(shop.count("webhook_events").await, 4);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_failed_event_keeps_its_letter_whoever_has_the_one_that_brought_it(db: PgPool) {
    for state in ["leased", "dead"] {
        let shop = Shop::open(db.clone()).await;
        let mut letters = DeadLetters::of(&shop.app);
        let (bought, envelope) = sale_in_the_queue(&shop, &db).await;
        let id = letters.all().remove(0).0;
        letters.put_aside(&id, state);
        // The provider's retry is stored, and fails five times.
        shop.advance(Duration::from_secs(2));
        shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
        assert_eq!(shop.deliver(&envelope).await.json()["status"], "ok");
        for _ in 0..5 {
            run(&shop).await;
            shop.advance(Duration::from_secs(145));
        }
        assert_eq!(letters.only()["payload"]["kind"], "stored_event", "{state}");
        assert_eq!(letters.ids("due"), [id.as_str()], "{state}");
        // Whoever had it in hand has seen the event well: that is no longer theirs to say.
        assert!(!letters.holds_lease(&id));
        shop.sandbox.clear_faults();
        shop.advance(Duration::from_secs(12 * 60));
        run(&shop).await;
        assert_eq!(shop.look(&bought).await["status"], "paid", "{state}");
        assert_eq!(letters.all(), []);
        assert_eq!((letters.ids("leased"), letters.ids("dead")), (vec![], vec![]));
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_letter_that_redis_lost_is_written_anew_and_a_dead_one_stays_dead(db: PgPool) {
    let shop = Shop::open(db).await;
    let (bought, _) = failed_sale(&shop).await;
    let mut letters = DeadLetters::of(&shop.app);
    let id = letters.all().remove(0).0;
    letters.put_aside(&id, "dead");
    shop.advance(Duration::from_secs(2 * 60 * 60));
    run(&shop).await;
    assert_eq!((letters.ids("dead"), letters.ids("due")), (vec![id], vec![]));

    letters.lose_letters();
    shop.sandbox.clear_faults();
    run(&shop).await;
    assert_eq!(letters.all(), [], "it was seen a moment ago");
    shop.advance(Duration::from_secs(60 * 60));
    run(&shop).await;
    assert_eq!(letters.only()["payload"]["kind"], "stored_event");
    shop.advance(Duration::from_secs(12 * 60));
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.count("outbox where name = 'dlq_pushed'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn another_body_under_the_same_id_is_asked_about_also_when_only_the_queue_saw_it(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let mut letters = DeadLetters::of(&shop.app);
    let (bought, envelope) = sale_in_the_queue(&shop, &db).await;
    let id = letters.all().remove(0).0;
    letters.put_aside(&id, "leased");
    let mut changed = envelope.clone();
    changed["created_at"] = json!("2026-01-02T03:04:06Z");
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    // The first body again says nothing, the other one says it once, also to whoever has the letter.
    for (body, is_changed) in [(&envelope, None), (&changed, Some(true)), (&changed, Some(true))] {
        assert_eq!(shop.deliver(body).await.json()["status"], "dlq");
        assert_eq!(letters.only().get("is_changed").and_then(Value::as_bool), is_changed);
        assert_eq!(letters.holds_lease(&id), is_changed.is_none());
    }
    lock.rollback().await.unwrap();
    assert_eq!(shop.count("webhook_events").await, 0);
    shop.advance(Duration::from_secs(5));
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    let question = ("event_changed".into(), "the event came again with another body".into());
    assert_eq!(shop.reviews().await, [question]);
    assert_eq!(letters.all(), []);
}

#[sqlx::test(migrations = "./migrations")]
async fn another_body_of_a_failed_event_is_asked_about_when_its_letter_is_replayed(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let (bought, _) = failed_sale(&shop).await;
    let mut letters = DeadLetters::of(&shop.app);
    let key = letters.all().remove(0).0.strip_prefix("moyasar:").unwrap().to_owned();
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    assert_eq!(shop.deliver(&event(&json!({ "id": key }))).await.json()["status"], "dlq");
    lock.rollback().await.unwrap();
    assert_eq!(letters.only()["payload"]["kind"], "stored_event");
    shop.sandbox.clear_faults();
    shop.advance(Duration::from_secs(12 * 60));
    run(&shop).await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.count("reviews where kind = 'event_changed'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_in_a_state_of_a_later_release_keeps_its_letter(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    sqlx::query("update webhook_events set status = 'parked'").execute(&shop.app.db).await.unwrap();
    shop.sandbox.clear_faults();
    shop.advance(Duration::from_mins(13));
    run(&shop).await;
    DeadLetters::of(&shop.app).only();
}
