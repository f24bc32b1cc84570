//! A world in which the service dies once: a buyer who tries again, a provider that sends again, and
//! the books that must be right in the end.

use std::time::Duration;

use chrono::TimeDelta;
use dealix::clock::Clock;
use dealix::queue::{Extra, Letter, Letters, Payload, Queue, Redis};
use dealix_sandbox::{Card, DeliveryStatus, InvoiceStatus, Options, Sandbox, cards};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::proxy::Proxy;
use crate::redis_server::{DURABLE, RedisServer};
use crate::service::Service;

/// Nothing here takes this long unless something is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// How soon somebody asks again.
const PAUSE: Duration = Duration::from_millis(50);

pub const WEBHOOK_SECRET: &str = "webhook-secret-for-tests-0123456789abcdef";

const ADMIN_KEY: &str = "admin-key-for-tests-0123456789abcdef";

/// Everything around the service.
pub struct World {
    pub db: PgPool,
    pub sandbox: Sandbox,
    pub service: Service,
    /// The way to Postgres, which can be closed.
    pub postgres: Proxy,
    environment: Vec<(&'static str, String)>,
    /// How often the service has to die.
    deaths: usize,
    client: Client,
    letters: MultiplexedConnection,
    redis: RedisServer,
}

/// A checkout that was started.
pub struct Bought {
    pub checkout_id: String,
    pub invoice_id: String,
}

impl World {
    /// Starts everything; the service dies at each of these steps, one after the other.
    pub async fn new(db: PgPool, steps: &[&'static str]) -> Self {
        Self::new_with(db, steps, &[]).await
    }

    /// The same, with some variables of the service's environment set.
    pub async fn new_with(
        db: PgPool,
        steps: &[&'static str],
        variables: &[(&'static str, &str)],
    ) -> Self {
        Self::new_after(db, steps, variables, &[]).await
    }

    /// The same, with entries in the lists of predecessors, each behind those before it.
    pub async fn new_after(
        db: PgPool,
        steps: &[&'static str],
        variables: &[(&'static str, &str)],
        old: &[(&str, String)],
    ) -> Self {
        let deaths = steps.len();
        // A minute between two attempts of the provider becomes 100 ms.
        let options = Options { time_scale: 600, ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let redis = RedisServer::start(DURABLE).await;
        let letters = redis::Client::open(redis.url("")).unwrap();
        let mut letters = letters.get_multiplexed_async_connection().await.unwrap();
        for (list, entry) in old {
            let () = letters.lpush(list, entry).await.unwrap();
        }
        let (postgres, postgres_url) = Proxy::to_postgres(&db).await;
        let mut environment = vec![
            ("DATABASE_URL", postgres_url),
            ("REDIS_URL", redis.url("")),
            // Not this machine: callbacks stay at the provider, so that no look at an invoice hides
            // that an event was lost.
            ("APP_URL", "https://api.dealix.me".to_owned()),
            ("MOYASAR_BASE_URL", sandbox.moyasar_url().into()),
            ("MOYASAR_SECRET_KEY", sandbox.secret_key().to_owned()),
            ("MOYASAR_WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
            ("POSTHOG_HOST", sandbox.posthog_url().into()),
            ("POSTHOG_API_KEY", sandbox.posthog_key().to_owned()),
            ("SENTRY_DSN", sandbox.sentry_dsn()),
            ("JWT_SECRET_KEY", "jwt-secret-for-tests-0123456789abcdef".to_owned()),
            ("ADMIN_API_KEYS", ADMIN_KEY.to_owned()),
        ];
        environment.extend(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let service = Service::start(steps.to_vec(), environment.clone()).await;
        let webhooks = format!("http://{}/api/v1/webhooks/moyasar", service.door.address);
        sandbox.register_webhook(webhooks.parse().unwrap(), WEBHOOK_SECRET);
        let client = client();
        Self { db, sandbox, service, postgres, environment, deaths, client, letters, redis }
    }

    /// Starts another instance beside it, which lives.
    pub async fn another(&self) -> Service {
        Service::start(vec![], self.environment.clone()).await
    }

    /// A way to Redis past the service.
    pub fn connection(&self) -> MultiplexedConnection {
        self.letters.clone()
    }

    /// Asks the service; nothing where nobody answers.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Option<(StatusCode, Value)> {
        let url = format!("http://{}{path}", self.service.door.address);
        let mut request = self.client.request(method, url);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status();
        Some((status, answer.json().await.ok()?))
    }

    /// Asks the service as an operator.
    pub async fn ask_as_admin(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Option<(StatusCode, Value)> {
        let url = format!("http://{}{path}", self.service.door.address);
        let request = self.client.request(method, url).header("x-api-key", ADMIN_KEY).json(body);
        let answer = request.send().await.ok()?;
        let status = answer.status();
        Some((status, answer.json().await.ok()?))
    }

    /// Gives an order as an operator, with a key.
    pub async fn ask_as_admin_once(&self, path: &str, key: &str) -> Option<(StatusCode, Value)> {
        let url = format!("http://{}{path}", self.service.door.address);
        let request = self.client.post(url).header("x-api-key", ADMIN_KEY);
        let answer = request.header("idempotency-key", key).send().await.ok()?;
        let status = answer.status();
        Some((status, answer.json().await.ok()?))
    }

    /// Waits until it has died as often as it should.
    pub async fn until_dead(&self) {
        until("it dies", async || (self.service.deaths() == self.deaths).then_some(())).await;
    }

    /// How many letters a part of the queue holds.
    pub async fn letters_in(&self, part: &str) -> i64 {
        self.letters.clone().zcard(letters_key(part)).await.unwrap()
    }

    /// Waits until there is a letter, and only such as that.
    pub async fn until_letters(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        until(what, async || {
            let letters: Vec<String> =
                self.letters.clone().hvals(letters_key("letters")).await.unwrap();
            let all = |text: &String| is_so(&serde_json::from_str(text).unwrap());
            (!letters.is_empty() && letters.iter().all(all)).then_some(())
        })
        .await;
    }

    /// Writes the letters as the release before did, and forgets how this one does.
    pub async fn write_letters_as_before(&self) {
        let mut redis = self.letters.clone();
        let letters: Vec<(String, String)> = redis.hgetall(letters_key("letters")).await.unwrap();
        let old = |part: &str| format!("dealix:dlq:{{webhooks}}:{part}");
        let mut change = redis::pipe();
        change.atomic().cmd("flushall");
        for (id, written) in letters {
            change.hset(old("letters"), &id, written);
            change.zadd(old("due"), &id, 0).zadd(old("ages"), &id, 0);
        }
        change.exec_async(&mut redis).await.unwrap();
    }

    /// Puts something into a queue that was not the service's own doing.
    pub async fn owe(&self, queue: Queue, id: &str, payload: Payload) {
        let redis = Redis::new(&self.redis.url("").into()).unwrap();
        let now = Clock::default().now();
        let letter = Letter {
            id: id.to_owned(),
            source: "test".to_owned(),
            error: "it was refused".to_owned(),
            error_class: "refused".to_owned(),
            attempt: 0,
            max_retries: 5,
            created_at: now,
            last_attempt_at: None,
            next_attempt_at: now + TimeDelta::hours(1),
            request_id: "r".to_owned(),
            trace_id: None,
            payload,
            body_sha256: None,
            is_changed: false,
            original: None,
            extra: Extra::default(),
        };
        let letters = Letters::new(redis, "dealix", Uuid::new_v4(), "test");
        letters.push(queue, &letter, now).await.unwrap();
    }

    /// Redis forgets everything.
    pub async fn lose_all_letters(&self) {
        redis::cmd("flushall").exec_async(&mut self.letters.clone()).await.unwrap();
    }

    /// Buys the starter plan, and tries again with the same key for as long as it takes.
    pub async fn buy(&self) -> Bought {
        let key = Uuid::new_v4().to_string();
        let order = json!({
            "plan_id": "starter",
            "customer_name": "شركة المثال",
            "customer_email": "buyer@example.com",
        });
        let path = "/api/v1/pricing/checkout";
        let started = until("the checkout is open", async || {
            match self.ask(Method::POST, path, Some(&key), Some(&order)).await? {
                (StatusCode::OK, started) => Some(started),
                (_, problem) => {
                    assert_eq!(problem["retryable"], true, "{problem}");
                    None
                }
            }
        })
        .await;
        let text = |name: &str| started[name].as_str().unwrap().to_owned();
        Bought { checkout_id: text("checkout_id"), invoice_id: text("invoice_id") }
    }

    /// The provider was asked once and made two invoices, as soon as it has made one.
    pub async fn repeat_the_first_invoice(&self) {
        let first = until("there is an invoice", async || {
            self.sandbox.ledger().invoices().first().map(|invoice| invoice.id.clone())
        });
        self.sandbox.repeat_invoice(&first.await).unwrap();
    }

    pub async fn pay(&self, bought: &Bought, card: Card) {
        self.sandbox.pay(&bought.invoice_id, card).await.unwrap();
    }

    /// Makes another invoice for the same checkout, of which the service is told nothing.
    pub async fn make_invoice_behind_its_back(&self, bought: &Bought) -> Bought {
        let url = self.sandbox.moyasar_url().join("invoices").unwrap();
        let invoice = json!({
            "amount": 99_000,
            "currency": "SAR",
            "description": "Dealix",
            "metadata": { "checkout_id": bought.checkout_id },
        });
        let request = self.client.post(url).basic_auth(self.sandbox.secret_key(), Some(""));
        let made: Value = request.json(&invoice).send().await.unwrap().json().await.unwrap();
        let invoice_id = made["id"].as_str().unwrap().to_owned();
        Bought { checkout_id: bought.checkout_id.clone(), invoice_id }
    }

    /// Waits until the provider was told of every event that we have it.
    pub async fn until_taken(&self) {
        until("every event is taken", async || {
            let ledger = self.sandbox.ledger();
            let is_taken = ledger.webhooks().all(|it| it.status == DeliveryStatus::Delivered);
            is_taken.then_some(())
        })
        .await;
    }

    /// Waits until an event that keeps failing is given up, and fails the last times without the waits.
    pub async fn until_given_up(&self) {
        until("the event is given up", async || {
            let last = "update webhook_events set attempts = 4, next_attempt_at = received_at
                where status = 'received' and attempts > 0";
            sqlx::query(last).execute(&self.db).await.unwrap();
            (self.count("webhook_events where status = 'failed'").await == 1).then_some(())
        })
        .await;
    }

    /// Waits until there is a letter, and makes it due at once.
    pub async fn until_a_letter_is_due(&self) {
        until("there is a letter", async || self.has_letter_due().await.then_some(())).await;
    }

    /// Waits until a letter's replay has shown the payment: at once, if it was due already.
    pub async fn until_replayed(&self, bought: &Bought) {
        until("its letter is replayed", async || {
            self.has_letter_due().await;
            self.is_shown(bought, "paid").await.then_some(())
        })
        .await;
    }

    /// Whether a letter is due, after making the first one that waits so.
    async fn has_letter_due(&self) -> bool {
        let mut letters = self.letters.clone();
        if letters.exists(letters_key("line")).await.unwrap() {
            return true;
        }
        let due = letters_key("due");
        let ids: Vec<String> = letters.zrange(&due, 0, -1).await.unwrap();
        let Some(id) = ids.first() else { return false };
        let change = redis::cmd("zadd").arg(&due).arg("xx").arg(0).arg(id).to_owned();
        change.exec_async(&mut letters).await.unwrap();
        true
    }

    /// Makes the invoice's callback, which is sent once, whatever comes of it.
    pub async fn call_back(&self) {
        let callbacks = self.sandbox.held_callbacks();
        let url: Url = callbacks[0].url.parse().unwrap();
        self.ask(Method::POST, url.path(), None, Some(&callbacks[0].body)).await;
    }

    /// Waits until the buyer is shown that status.
    pub async fn until_shown(&self, bought: &Bought, status: &str) {
        let what = format!("it is {status}");
        until(&what, async || self.is_shown(bought, status).await.then_some(())).await;
    }

    async fn is_shown(&self, bought: &Bought, status: &str) -> bool {
        let path = format!("/api/v1/pricing/checkout/{}", bought.checkout_id);
        let shown = self.ask(Method::GET, &path, None, None).await;
        shown.is_some_and(|(_, shown)| shown["status"] == status)
    }

    /// Waits until nothing is under way any more, and it died as it should have.
    pub async fn until_at_rest(&self) {
        self.sandbox.concluded().await;
        until("it dies, and everything is settled and sent", async || {
            let open = "select (select count(*) from webhook_events where status in ('received', 'failed'))
                + (select count(*) from outbox where status = 'pending')
                + (select count(*) from checkouts where status = 'opening')
                + (select count(*) from invoices where cancel_at is not null)";
            let open: i64 = sqlx::query_scalar(open).fetch_one(&self.db).await.unwrap();
            let letters: i64 = self.letters.clone().hlen(letters_key("letters")).await.unwrap();
            // One that was written anew while its event was settled finds nothing to do, when it is due.
            self.has_letter_due().await;
            (open + letters == 0 && self.service.deaths() == self.deaths).then_some(())
        })
        .await;
    }

    /// How many rows a condition on a table finds.
    pub async fn count(&self, from: &'static str) -> i64 {
        let statement = sqlx::AssertSqlSafe(format!("select count(*) from {from}"));
        sqlx::query_scalar(statement).fetch_one(&self.db).await.unwrap()
    }

    /// Holds the books of both sides against each other: one sale, and nothing lost or doubled.
    pub async fn hold_the_books_of_one_sale(&self) {
        self.until_at_rest().await;
        self.nothing_that_was_taken_is_lost().await;
        let ledger = self.sandbox.ledger();

        assert_eq!(self.count("payments where standing = 'granted'").await, 1);
        assert_eq!(self.count("payment_effects where effect = 'granted'").await, 1);
        assert_eq!(self.count("payment_effects").await, 1);
        let one_period = "subscriptions where status = 'active'
            and current_period_end - current_period_start between '27 days' and '32 days'";
        assert_eq!(self.count(one_period).await, 1);
        assert_eq!(self.count("subscriptions").await, 1);
        assert_eq!(self.count("reviews").await, 0);
        assert_eq!(self.count("checkouts where status = 'paid'").await, 1);

        // Analytics knows exactly what the outbox says, under the same ids.
        assert_eq!(self.count("outbox where name = 'payment_succeeded'").await, 1);
        assert_eq!(ledger.posthog_events_named("payment_succeeded").count(), 1);
        assert_eq!(
            i64::try_from(ledger.posthog_events().len()).unwrap(),
            self.count("outbox").await
        );
        assert!(ledger.posthog_events().iter().all(|event| !event.is_changed));
    }

    /// One key, one checkout, one place to pay: whatever else was made on the way has ended.
    pub async fn there_is_one_place_to_pay(&self) {
        let ledger = self.sandbox.ledger();
        let live = ledger.invoices().iter().filter(|one| one.status != InvoiceStatus::Canceled);
        assert_eq!(live.count(), 1, "{:?}", ledger.invoices());
        assert_eq!(self.count("checkouts where status <> 'refused'").await, 1);
    }

    /// Every event that was answered 2xx is in the table, once, and settled.
    pub async fn nothing_that_was_taken_is_lost(&self) {
        let ledger = self.sandbox.ledger();
        let mut events = 0;
        for delivery in ledger.webhooks() {
            if delivery.status == DeliveryStatus::Lost {
                continue;
            }
            events += 1;
            let stored: Vec<String> =
                sqlx::query_scalar("select status from webhook_events where dedupe_key = $1")
                    .bind(&delivery.event_id)
                    .fetch_all(&self.db)
                    .await
                    .unwrap();
            assert!(delivery.attempts.iter().any(|attempt| attempt.result == "success"));
            assert_eq!(stored, ["done"], "{} {}", delivery.event_type, delivery.event_id);
        }
        assert_eq!(self.count("webhook_events").await, events);
    }

    /// Stops everything.
    pub async fn end(self) {
        self.service.end().await;
    }
}

/// The parts of the queue of webhooks.
fn letters_key(part: &str) -> String {
    format!("dealix:dlq:{{webhooks}}:2:{part}")
}

/// A card that is charged.
pub fn good_card() -> Card {
    cards::MADA_APPROVED
}

#[expect(clippy::disallowed_methods, reason = "not a client of the service's: one of its clients")]
fn client() -> Client {
    // A fresh connection each time: one that was kept could lead to the dead.
    let fresh = Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(15));
    // Moyasar turns away whoever does not say who they are.
    fresh.user_agent("dealix-tests").build().unwrap()
}

/// Asks again and again until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answered = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    answered.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}
