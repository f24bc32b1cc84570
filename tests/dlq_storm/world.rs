//! `World`: four instances on one Postgres and one Redis, a provider with paid sales, letters about them,
//! and the weather between the instances and Redis.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use dealix::clock::Clock;
use dealix::queue::{Extra, Letter, Letters, Pause, Payload, Queue, Redis};
use dealix_sandbox::{Options, Sandbox, cards};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::books::until;
use crate::proxy::Proxy;
use crate::redis_server::{DURABLE, RedisServer};
use crate::service::Service;

/// How many sales the letters are about.
pub const SALES: usize = 30;

const WEBHOOK_SECRET: &str = "webhook-secret-for-tests-0123456789abcdef";
const ADMIN_KEY: &str = "admin-key-for-tests-0123456789abcdef";

/// Everything.
pub struct World {
    shared: Shared,
    redis: RedisServer,
    weather: Weather,
    /// The way to Postgres, which stays open.
    _postgres: Proxy,
}

/// What everybody in the storm needs.
pub struct Shared {
    pub db: PgPool,
    pub sandbox: Sandbox,
    pub instances: Vec<Service>,
    pub letters: Letters,
    /// Redis, past the weather.
    pub redis_url: String,
    /// What is owed, by the provider's ids of the events.
    pub owed: Mutex<BTreeSet<String>>,
    /// Of these Redis did not say that it has them; it may.
    pub perhaps: Mutex<BTreeSet<String>>,
    client: Client,
    /// The provider's events about the sales, of which each letter is about a copy.
    events: Vec<Value>,
}

/// What comes between the instances and Redis.
pub struct Weather {
    redis_proxy: Proxy,
    redis_url: String,
}

impl World {
    pub async fn start(db: PgPool) -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let redis = RedisServer::start(DURABLE).await;
        let redis_url = redis.url("");
        let (redis_proxy, through) = Proxy::to_redis_at(&redis_url).await;
        let (postgres, postgres_url) = Proxy::to_postgres(&db).await;
        let environment = vec![
            ("DATABASE_URL", postgres_url),
            ("REDIS_URL", through),
            ("APP_URL", "https://api.dealix.me".to_owned()),
            ("MOYASAR_BASE_URL", sandbox.moyasar_url().into()),
            ("MOYASAR_SECRET_KEY", sandbox.secret_key().to_owned()),
            ("MOYASAR_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
            ("POSTHOG_HOST", sandbox.posthog_url().into()),
            ("POSTHOG_API_KEY", sandbox.posthog_key().to_owned()),
            ("JWT_SECRET_KEY", "jwt-secret-for-tests-0123456789abcdef".to_owned()),
            ("ADMIN_API_KEYS", ADMIN_KEY.to_owned()),
            ("RATELIMIT_ENABLED", "false".to_owned()),
            ("ABUSE_GUARDS_ENABLED", "false".to_owned()),
        ];
        let mut instances = Vec::new();
        for _ in 0..4 {
            instances.push(Service::start(vec![], environment.clone()).await);
        }
        let client = client();
        let events = paid_events(&sandbox, &client, &instances[0]).await;
        let way = Redis::new(&redis_url.as_str().into()).unwrap();
        let letters = Letters::new(way, "dealix", Uuid::new_v4(), "test");
        let (owed, perhaps) = (Mutex::default(), Mutex::default());
        let weather = Weather { redis_proxy, redis_url: redis_url.clone() };
        let shared =
            Shared { db, sandbox, instances, letters, redis_url, owed, perhaps, client, events };
        Self { shared, redis, weather, _postgres: postgres }
    }

    /// What the storm needs, and what the weather needs.
    pub fn parts(&mut self) -> (&Shared, &mut RedisServer, &Weather) {
        (&self.shared, &mut self.redis, &self.weather)
    }

    /// From now on nothing is replayed but by an operator's word.
    pub async fn pause(&self) {
        let now = Clock::default().now();
        let pause = Pause { by: "test".to_owned(), reason: "a storm".to_owned(), at: now };
        self.shared.letters.pause(Queue::Webhooks, &pause).await.unwrap();
    }

    /// Events that Postgres has and that could not be settled; who hands over makes letters of them.
    pub async fn owe_stored(&self, count: usize) {
        for number in 0..count {
            let (id, event) = self.shared.copy(number);
            let body = event.to_string().into_bytes();
            let stored = "insert into webhook_events (id, source, dedupe_key, event_type, payment_id, body,
                    body_sha256, status, last_error, error_class, attempts, next_attempt_at, request_id, received_at)
                values ($1, 'moyasar', $2, 'payment_paid', $3, $4, sha256($4), 'failed', 'a fault', 'storage', 5,
                    now(), 'storm', now())";
            let stored = sqlx::query(stored).bind(Uuid::now_v7()).bind(&id);
            let stored = stored.bind(event["data"]["id"].as_str().unwrap()).bind(body);
            stored.execute(&self.shared.db).await.unwrap();
            lock(&self.shared.owed).insert(id);
        }
    }

    pub async fn end(self) {
        for instance in self.shared.instances {
            instance.end().await;
        }
    }
}

impl Shared {
    /// A copy of one of the provider's events under an id of its own: another prompt about the same
    /// payment.
    fn copy(&self, number: usize) -> (String, Value) {
        let mut event = self.events[number % self.events.len()].clone();
        let id = Uuid::new_v4().to_string();
        event["id"] = json!(id);
        event["secret_token"] = json!("");
        (id, event)
    }

    /// Pushes letters, as a service does that Postgres fails, until the queue has so many.
    pub async fn owe(&self, supply: usize) {
        let now = Clock::default().now();
        let Ok(counts) = self.letters.count(Queue::Webhooks, now).await else { return };
        let there = usize::try_from(counts.depth()).unwrap();
        for number in there..supply {
            let (id, event) = self.copy(number);
            let letter = letter(&id, event.to_string(), now);
            lock(&self.perhaps).insert(id.clone());
            match self.letters.push(Queue::Webhooks, &letter, now).await {
                Ok(_) => {
                    lock(&self.owed).insert(id.clone());
                    lock(&self.perhaps).remove(&id);
                }
                // The weather: another time.
                Err(_) => return,
            }
        }
    }

    /// Lets an instance drain; nothing where it died meanwhile.
    pub async fn drain(&self, instance: &Service, limit: usize) -> Option<Value> {
        let path = format!("webhooks/drain?limit={limit}");
        let (status, answer) = self.post(instance, &path).await?;
        let is_known = [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        assert!(is_known, "{status} {answer}");
        Some(answer)
    }

    /// Orders a redrive of everything, unless one is going on, and lets whoever comes carry it out for
    /// a moment; nothing where the instance died meanwhile.
    pub async fn redrive(&self, instance: &Service) -> Option<Value> {
        let (status, answer) = self.post(instance, "webhooks/redrive").await?;
        let is_known = [StatusCode::OK, StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE]
            .contains(&status);
        assert!(is_known, "{status} {answer}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        Some(answer)
    }

    /// Asks an instance as an operator.
    pub async fn post(&self, instance: &Service, path: &str) -> Option<(StatusCode, Value)> {
        let url = format!("http://{}/api/v1/admin/dlq/{path}", instance.door.address);
        let answer = self.client.post(url).header("x-api-key", ADMIN_KEY).send().await.ok()?;
        let status = answer.status();
        Some((status, answer.json().await.ok()?))
    }
}

impl Weather {
    /// One trouble after the other, in an order that the seed draws, with fair weather in between and
    /// when it is over.
    pub async fn rage(&self, redis: &mut RedisServer, seed: u64, is_over: &AtomicBool) {
        let mut random = fastrand::Rng::with_seed(seed);
        let fair = Duration::from_secs(2);
        let foul = Duration::from_millis(1_500);
        let mut noticed = [0; 4];
        while !is_over.load(Ordering::Relaxed) {
            let mut troubles = [0, 1, 2, 3];
            random.shuffle(&mut troubles);
            for trouble in troubles {
                tokio::time::sleep(fair.mul_f64(random.f64())).await;
                match trouble {
                    0 => {
                        self.redis_proxy.freeze();
                        tokio::time::sleep(foul).await;
                        self.redis_proxy.thaw();
                    }
                    1 => redis.restart().await,
                    2 => self.tell(&["SCRIPT", "FLUSH"]).await,
                    _ => {
                        self.tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
                        tokio::time::sleep(foul).await;
                        self.tell(&["CONFIG", "SET", "maxmemory", "0"]).await;
                    }
                }
                noticed[trouble] += 1;
            }
        }
        let [frozen, restarted, flushed, full] = noticed;
        println!(
            "Redis was frozen {frozen} times, restarted {restarted}, without scripts {flushed}, full {full}"
        );
    }

    /// Says it again until Redis has heard it, which on a busy machine may take a while.
    async fn tell(&self, words: &[&str]) {
        let client = redis::Client::open(self.redis_url.as_str()).unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        until("Redis hears it", async || {
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            command.exec_async(&mut connection).await.ok()
        })
        .await;
    }
}

/// A letter as the service pushes it when Postgres does not take an event.
fn letter(id: &str, body: String, now: DateTime<Utc>) -> Letter {
    Letter {
        id: format!("moyasar:{id}"),
        source: "moyasar".to_owned(),
        error: "Postgres did not confirm the event".to_owned(),
        error_class: "storage".to_owned(),
        attempt: 0,
        max_retries: 5,
        created_at: now,
        last_attempt_at: None,
        next_attempt_at: now + TimeDelta::milliseconds(now.timestamp_millis() % 2 * 3_600_000),
        request_id: "storm".to_owned(),
        trace_id: None,
        payload: Payload::Event {
            event_id: id.to_owned(),
            event_type: Some("payment_paid".to_owned()),
            received_at: now,
            body,
        },
        body_sha256: Some("00".repeat(32)),
        is_changed: false,
        original: None,
        extra: Extra::default(),
    }
}

/// Opens and pays the checkouts; the provider's events about them.
async fn paid_events(sandbox: &Sandbox, client: &Client, instance: &Service) -> Vec<Value> {
    let url = format!("http://{}/api/v1/pricing/checkout", instance.door.address);
    for number in 0..SALES {
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
    let events = sandbox.take_held_webhooks();
    assert_eq!(events.len(), SALES);
    events
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "not a client of the service's: one of its clients")]
fn client() -> Client {
    // A fresh connection each time: one that was kept could lead to the dead.
    let fresh = Client::builder().pool_max_idle_per_host(0);
    fresh.timeout(Duration::from_secs(30)).build().unwrap()
}
