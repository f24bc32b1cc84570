//! `Shop`: the service and, played by the sandbox, the world that it sells to.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use dealix_sandbox::{Card, Options, Payment, Sandbox};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{Answer, NOW, TestApp, WEBHOOK_SECRET, json as json_request};

/// The service beside its sandbox; both clocks stand at the same time.
pub struct Shop {
    pub app: TestApp,
    pub sandbox: Sandbox,
}

/// A checkout that was started.
pub struct Bought {
    pub checkout_id: String,
    pub invoice_id: String,
}

impl Shop {
    pub async fn open(db: PgPool) -> Self {
        Self::open_with(db, &[]).await
    }

    /// Opens with some variables of the environment set.
    pub async fn open_with(db: PgPool, variables: &[(&str, &str)]) -> Self {
        Self::open_in(variables, |variables| TestApp::start_with(db, variables)).await
    }

    /// Opens with connections to Postgres of its own, to where the variables say that it is.
    pub async fn open_alone(variables: &[(&str, &str)]) -> Self {
        Self::open_in(variables, TestApp::start_alone).await
    }

    async fn open_in(
        variables: &[(&str, &str)],
        start: impl FnOnce(&[(&str, &str)]) -> TestApp,
    ) -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        sandbox.set_now(NOW.parse().unwrap());
        let (moyasar, posthog) = (sandbox.moyasar_url(), sandbox.posthog_url());
        let own = [
            ("MOYASAR_BASE_URL", moyasar.as_str()),
            ("MOYASAR_SECRET_KEY", sandbox.secret_key()),
            ("POSTHOG_HOST", posthog.as_str()),
            ("POSTHOG_API_KEY", sandbox.posthog_key()),
            ("APP_URL", "http://127.0.0.1:8001"),
        ];
        let all: Vec<_> = own.iter().chain(variables).copied().collect();
        let app = start(&all);
        Self { app, sandbox }
    }

    /// Starts a checkout of the starter plan.
    pub async fn buy(&self) -> Bought {
        let answer = self.app.post("/api/v1/pricing/checkout", order()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let started = answer.json();
        let text = |name: &str| started[name].as_str().unwrap().to_owned();
        Bought { checkout_id: text("checkout_id"), invoice_id: text("invoice_id") }
    }

    /// Orders the starter plan under an idempotency key.
    pub async fn order_once(&self, key: &str, order: &Value) -> Answer {
        let request = Request::post("/api/v1/pricing/checkout").header("idempotency-key", key);
        self.app.send(json_request(request, order)).await
    }

    /// Lets the background loops do what there is to do.
    pub async fn run_jobs(&self) {
        self.app.app.run_jobs_until_idle().await.unwrap();
    }

    /// The statuses of the checkouts, oldest first.
    pub async fn statuses(&self) -> Vec<String> {
        sqlx::query_scalar("select status from checkouts order by created_at")
            .fetch_all(&self.app.db)
            .await
            .unwrap()
    }

    /// Pays an invoice.
    pub async fn pay(&self, bought: &Bought, card: Card) -> Payment {
        self.sandbox.pay(&bought.invoice_id, card).await.unwrap()
    }

    /// Takes every webhook that the provider holds back to the service.
    pub async fn deliver_webhooks(&self) {
        for envelope in self.sandbox.take_held_webhooks() {
            let answer = self.deliver(&envelope).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        }
    }

    /// Takes one webhook to the service, with the secret that the two agreed on.
    pub async fn deliver(&self, envelope: &Value) -> Answer {
        let mut envelope = envelope.clone();
        envelope["secret_token"] = json!(WEBHOOK_SECRET);
        self.deliver_raw(envelope.to_string()).await
    }

    /// Takes any body to the service.
    pub async fn deliver_raw(&self, body: impl Into<Body>) -> Answer {
        self.app.send(Request::post("/api/v1/webhooks/moyasar").body(body.into()).unwrap()).await
    }

    /// Delivers what is held back and lets the background loops do what there is to do.
    pub async fn settle(&self) {
        self.deliver_webhooks().await;
        self.app.app.run_jobs_until_idle().await.unwrap();
    }

    /// Where a checkout stands, as its buyer sees it.
    pub async fn look(&self, bought: &Bought) -> Value {
        let answer =
            self.app.get(&format!("/api/v1/pricing/checkout/{}", bought.checkout_id)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    /// Moves both clocks.
    pub fn advance(&self, by: Duration) {
        self.app.clock.advance(by);
        self.sandbox.advance(by);
    }

    /// How many rows a condition on a table finds.
    pub async fn count(&self, from: &'static str) -> i64 {
        let statement = sqlx::AssertSqlSafe(format!("select count(*) from {from}"));
        sqlx::query_scalar(statement).fetch_one(&self.app.db).await.unwrap()
    }

    /// Gives a checkout without invoices another name, so that nobody finds it; tells which.
    pub async fn rename_checkout(&self, id: &str) -> String {
        let other = uuid::Uuid::new_v4().to_string();
        self.rename_checkout_to(id, &other).await;
        other
    }

    /// Gives a checkout without invoices another name.
    pub async fn rename_checkout_to(&self, id: &str, other: &str) {
        let renamed = sqlx::query("update checkouts set id = $2::uuid where id = $1::uuid")
            .bind(id)
            .bind(other)
            .execute(&self.app.db)
            .await
            .unwrap();
        assert_eq!(renamed.rows_affected(), 1);
    }

    /// The kinds and differences that a person was asked about.
    pub async fn reviews(&self) -> Vec<(String, String)> {
        sqlx::query_as("select kind, difference from reviews order by opened_at, kind")
            .fetch_all(&self.app.db)
            .await
            .unwrap()
    }

    /// The names of the events that PostHog has, in their order.
    pub fn analytics(&self) -> Vec<String> {
        self.sandbox.ledger().posthog_events().iter().map(|event| event.event.clone()).collect()
    }
}

/// A visitor who buys the starter plan.
pub fn order() -> Value {
    json!({
        "plan_id": "starter",
        "customer_name": "شركة المثال",
        "customer_email": "Buyer@Example.com",
        "customer_phone": "٠٥١٢٣٤٥٦٧٨",
    })
}

/// The same with some fields changed; `null` takes one out.
pub fn order_with(changes: &Value) -> Value {
    let mut order = order();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            order.as_object_mut().unwrap().remove(name);
        } else {
            order[name] = value.clone();
        }
    }
    order
}
