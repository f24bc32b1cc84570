//! Everything at once: the same events many times over, two instances, stores that come and go. In the
//! end every payment has one effect, and no answer has promised what was not so.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a step that fails should fail the test"
)]

#[path = "crash/door.rs"]
mod door;
#[path = "api/proxy.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod proxy;
#[path = "api/redis_server.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod redis_server;
#[path = "crash/service.rs"]
#[expect(dead_code, reason = "shared with the tests of crashes, which count them")]
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dealix_sandbox::{Options, Sandbox, cards};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::proxy::Proxy;
use crate::redis_server::{DURABLE, RedisServer};
use crate::service::Service;

const EVENTS: usize = 100;
const COPIES: usize = 20;

/// How long the deliveries last. For a third of it Postgres is away, for another Redis.
const STORM: Duration = Duration::from_secs(18);

/// Nothing here takes this long unless something is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Repeated to see the same storm again.
const SEED: u64 = 20_261_120;

const WEBHOOK_SECRET: &str = "webhook-secret-for-tests-0123456789abcdef";

/// What one delivery was answered.
struct Answer {
    event_id: String,
    /// None without an answer.
    status: Option<StatusCode>,
    /// `ok`, `duplicate`, `dlq`, or nothing.
    word: String,
    /// Whether its row could be seen when the answer came.
    was_stored: bool,
}

#[sqlx::test(migrations = "./migrations")]
async fn a_hundred_events_twenty_times_each_at_two_instances_in_a_storm_have_one_effect_each(
    db: PgPool,
) {
    println!("seed {SEED}");
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let redis = RedisServer::start(DURABLE).await;
    let (postgres_proxy, postgres_url) = Proxy::to_postgres(&db).await;
    let (redis_proxy, redis_url) = Proxy::to_redis_at(&redis.url("")).await;
    let environment = vec![
        ("DATABASE_URL", postgres_url),
        ("REDIS_URL", redis_url),
        ("APP_URL", "https://api.dealix.me".to_owned()),
        ("MOYASAR_BASE_URL", sandbox.moyasar_url().into()),
        ("MOYASAR_SECRET_KEY", sandbox.secret_key().to_owned()),
        ("MOYASAR_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
        ("POSTHOG_HOST", sandbox.posthog_url().into()),
        ("POSTHOG_API_KEY", sandbox.posthog_key().to_owned()),
        ("JWT_SECRET_KEY", "jwt-secret-for-tests-0123456789abcdef".to_owned()),
        ("ADMIN_API_KEYS", "admin-key-for-tests-0123456789abcdef".to_owned()),
        ("RATELIMIT_ENABLED", "false".to_owned()),
        ("ABUSE_GUARDS_ENABLED", "false".to_owned()),
    ];
    let instances = [
        Service::start(vec![], environment.clone()).await,
        Service::start(vec![], environment).await,
    ];
    let client = client();
    let bodies = paid_events(&sandbox, &client, &instances[0]).await;

    let mut random = fastrand::Rng::with_seed(SEED);
    let mut deliveries: Vec<usize> = (0..EVENTS * COPIES).map(|number| number % EVENTS).collect();
    random.shuffle(&mut deliveries);
    let gap = STORM / u32::try_from(deliveries.len()).unwrap();
    let weather = weather(&postgres_proxy, &redis_proxy);
    let storm = async {
        let mut answers = JoinSet::new();
        let begin = tokio::time::Instant::now();
        for (number, event) in (0..).zip(deliveries) {
            tokio::time::sleep_until(begin + gap * number).await;
            let url = webhook_url(&instances[random.usize(..2)]);
            answers.spawn(deliver(client.clone(), url, Arc::clone(&bodies[event]), db.clone()));
        }
        answers.join_all().await
    };
    let ((), answers) = tokio::join!(weather, storm);
    let words = judge(&answers);
    println!("{words:?}");
    for word in ["200 ok", "200 duplicate", "200 dlq"] {
        assert!(words.contains_key(word), "the storm was none: no {word}");
    }

    // The provider sends again until it is told that the event is there; here, all of them once more.
    for body in &bodies {
        let again = async {
            loop {
                let url = webhook_url(&instances[random.usize(..2)]);
                let last = deliver(client.clone(), url, Arc::clone(body), db.clone()).await;
                judge(std::slice::from_ref(&last));
                if last.status == Some(StatusCode::OK) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, again).await.expect("an event is never taken");
    }
    hold_the_books(&db, &sandbox, &answers).await;
    let [one, other] = instances;
    one.end().await;
    other.end().await;
}

/// Opens and pays a hundred checkouts; the provider's events about them.
async fn paid_events(sandbox: &Sandbox, client: &Client, instance: &Service) -> Vec<Arc<String>> {
    let url = format!("http://{}/api/v1/pricing/checkout", instance.door.address);
    for number in 0..EVENTS {
        let order = json!({
            "plan_id": "starter",
            "customer_name": "شركة المثال",
            "customer_email": format!("buyer-{number}@example.com"),
        });
        let answer = client.post(&url).json(&order).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = answer.json().await.unwrap();
        let invoice = answer["invoice_id"].as_str().unwrap();
        sandbox.pay(invoice, cards::MADA_APPROVED).await.unwrap();
    }
    let mut events = sandbox.take_held_webhooks();
    assert_eq!(events.len(), EVENTS);
    for event in &mut events {
        event["secret_token"] = json!(WEBHOOK_SECRET);
    }
    events.iter().map(|event| Arc::new(event.to_string())).collect()
}

/// A third of the time without Postgres, whose connections are lost for good in the end; a third
/// without Redis; fair in between.
async fn weather(postgres: &Proxy, redis: &Proxy) {
    let (fair, foul) = (STORM / 9, STORM / 3);
    tokio::time::sleep(fair).await;
    postgres.freeze();
    tokio::time::sleep(foul).await;
    postgres.thaw_for_new_connections();
    tokio::time::sleep(fair).await;
    redis.freeze();
    tokio::time::sleep(foul).await;
    redis.thaw();
}

async fn deliver(client: Client, url: String, body: Arc<String>, db: PgPool) -> Answer {
    let event: Value = serde_json::from_str(&body).unwrap();
    let event_id = event["id"].as_str().unwrap().to_owned();
    let answered = client.post(url).body(body.as_str().to_owned()).send().await.ok();
    let status = answered.as_ref().map(reqwest::Response::status);
    let said: Value = match answered {
        Some(answer) => answer.json().await.unwrap_or_default(),
        None => Value::Null,
    };
    let word = said["status"].as_str().unwrap_or_default().to_owned();
    // By a connection of the test's own, past the weather.
    let stored = "select exists (select from webhook_events where dedupe_key = $1)";
    let was_stored = sqlx::query_scalar(stored).bind(&event_id).fetch_one(&db).await.unwrap();
    Answer { event_id, status, word, was_stored }
}

/// Fails for an answer that was not true when it was given; counts what was said.
fn judge(answers: &[Answer]) -> BTreeMap<String, u32> {
    let mut words = BTreeMap::new();
    for Answer { event_id, status, word, was_stored } in answers {
        let status = status.map_or_else(|| "none".to_owned(), |status| status.as_str().to_owned());
        let said = format!("{status} {word}");
        match said.as_str() {
            "200 ok" | "200 duplicate" => assert!(was_stored, "{said} for {event_id}"),
            "200 dlq" | "503 " | "none " => (),
            _ => panic!("{said} for {event_id}"),
        }
        *words.entry(said).or_default() += 1;
    }
    words
}

/// One effect for each payment, and nothing under way any more.
async fn hold_the_books(db: &PgPool, sandbox: &Sandbox, answers: &[Answer]) {
    let count = async |from: &'static str| -> i64 {
        let statement = sqlx::AssertSqlSafe(format!("select count(*) from {from}"));
        sqlx::query_scalar(statement).fetch_one(db).await.unwrap()
    };
    let at_rest = async {
        while count("webhook_events where status <> 'done'").await > 0
            || count("outbox where status <> 'sent'").await > 0
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, at_rest).await.expect("something is never settled or sent");

    let events = i64::try_from(EVENTS).unwrap();
    for table in [
        "webhook_events",
        "payments where standing = 'granted'",
        "payment_effects",
        "payment_effects where effect = 'granted'",
        "subscriptions where current_period_end - current_period_start < '32 days'",
        "checkouts where status = 'paid'",
        "outbox where name = 'payment_succeeded'",
    ] {
        assert_eq!(count(table).await, events, "{table}");
    }
    assert_eq!(count("reviews").await, 0);
    let ledger = sandbox.ledger();
    assert_eq!(ledger.posthog_events_named("payment_succeeded").count(), EVENTS);
    for answer in answers.iter().filter(|answer| answer.status == Some(StatusCode::OK)) {
        let stored = "select count(*) from webhook_events where dedupe_key = $1";
        let stored = sqlx::query_scalar(stored).bind(&answer.event_id).fetch_one(db);
        let rows: i64 = stored.await.unwrap();
        assert_eq!(rows, 1, "{} was answered `{}`", answer.event_id, answer.word);
    }
}

fn webhook_url(instance: &Service) -> String {
    format!("http://{}/api/v1/webhooks/moyasar", instance.door.address)
}

#[expect(clippy::disallowed_methods, reason = "not a client of the service's: one of its clients")]
fn client() -> Client {
    Client::builder().timeout(Duration::from_secs(10)).build().unwrap()
}
