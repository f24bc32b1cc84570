//! Personal data and secrets go where they belong and nowhere else: not into the log, not to Sentry
//! or PostHog, not into a metric, and not into a failure.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Method, Request};
use dealix_sandbox::Card;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use tracing::level_filters::LevelFilter;

use crate::harness::{ADMIN_KEY, METHODS, WEBHOOK_SECRET, json as json_body};
use crate::shop::{Shop, order_with};

/// A Saudi mobile, an IBAN, a card, an address, a national id: all made up.
const PERSONAL: [&str; 6] = [
    "0559876543",
    "559876543",
    "SA0380000000608010167519",
    "4111111111111111",
    "someone.private@example.com",
    "1098765432",
];

const ALL_OF_IT: &str = "Call 0559876543 or +966559876543, IBAN SA0380000000608010167519, card \
    4111111111111111, someone.private@example.com, id 1098765432";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Everything that is in a text and should not be.
fn leaks(text: &str) -> Vec<&'static str> {
    let own = [WEBHOOK_SECRET, ADMIN_KEY];
    PERSONAL.into_iter().chain(own).filter(|secret| text.contains(secret)).collect()
}

/// A body that says all of it in every field of an operation.
fn body_of(document: &Value, operation: &Value) -> Option<Value> {
    let content = &operation["requestBody"]["content"];
    let schema = content["application/json"]["schema"]["$ref"].as_str();
    let Some(schema) = schema else {
        return content.is_object().then(|| json!({ "id": ALL_OF_IT, "type": ALL_OF_IT }));
    };
    let name = schema.rsplit('/').next().unwrap();
    let fields = document["components"]["schemas"][name]["properties"].as_object().unwrap();
    let fields = fields.keys().map(|field| (field.clone(), json!(ALL_OF_IT)));
    Some(Value::Object(fields.collect::<Map<_, _>>()))
}

#[sqlx::test(migrations = "./migrations")]
async fn what_is_personal_or_secret_reaches_no_log_no_failure_and_no_service(db: PgPool) {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Threads that log to nobody must not be asked whether a line is of interest: the first one that
    // comes by a place would answer no for all of them.
    drop(tracing::subscriber::set_global_default(tracing_subscriber::registry()));
    let guard = tracing::subscriber::set_default(subscriber);
    let shop = Shop::open(db).await;
    everywhere(&shop).await;
    a_sale(&shop).await;
    webhooks(&shop).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    // The same while the store is gone: errors quote nothing either.
    shop.app.db.close().await;
    everywhere(&shop).await;
    drop(guard);

    let text = log.text();
    assert!(text.lines().count() > 100, "hardly anything was logged");
    let guilty: Vec<_> = text.lines().filter(|line| !leaks(line).is_empty()).take(5).collect();
    assert!(guilty.is_empty(), "{guilty:#?}");
    let ledger = shop.sandbox.ledger();
    let analytics = format!("{:?}", ledger.posthog_events());
    assert_eq!(leaks(&analytics), Vec::<&str>::new());
    let metrics = shop.app.get_as(ADMIN_KEY, "/metrics").await;
    assert_eq!(leaks(metrics.text()), Vec::<&str>::new());
}

/// Says all of it in every path, query, header and body that the document knows.
async fn everywhere(shop: &Shop) {
    let document = shop.app.get("/openapi.json").await.json();
    let in_url = "0559876543-SA0380000000608010167519-someone.private@example.com";
    for (path, item) in document["paths"].as_object().unwrap() {
        let template =
            path.split('/').map(|part| if part.starts_with('{') { in_url } else { part });
        let path = template.collect::<Vec<_>>().join("/");
        for method in METHODS {
            let Some(operation) = item.get(method.as_str().to_lowercase()) else { continue };
            let uri = format!("{path}?q={in_url}&id=4111111111111111");
            for key in ["", ADMIN_KEY, "someone.private@example.com"] {
                let request = Request::builder().method(&method).uri(&uri).header("x-api-key", key);
                let request = request
                    .header("user-agent", ALL_OF_IT)
                    .header("referer", ALL_OF_IT)
                    .header("x-forwarded-for", ALL_OF_IT)
                    .header("cookie", ALL_OF_IT)
                    .header("idempotency-key", "someone.private@example.com");
                let request = match body_of(&document, operation) {
                    Some(body) => json_body(request, &body),
                    None => request.body(Body::empty()).unwrap(),
                };
                let answer = shop.app.send(request).await;
                if method != Method::GET && !answer.status.is_success() {
                    let body = answer.json();
                    // A failure repeats the path that was asked for, and what one literal detail names.
                    let said = format!("{}{}{}", body["title"], body["errors"], body["code"]);
                    assert_eq!(leaks(&said), Vec::<&str>::new(), "{method} {uri}");
                }
            }
        }
    }
}

/// A customer who tells us all of it, and a card whose bank does.
async fn a_sale(shop: &Shop) {
    let customer = json!({
        "customer_name": ALL_OF_IT,
        "customer_email": "someone.private@example.com",
        "customer_phone": "0559876543",
        "tenant_id": "someone.private@example.com",
    });
    let answer = shop.app.post("/api/v1/pricing/checkout", order_with(&customer)).await;
    let invoice = answer.json()["invoice_id"].as_str().unwrap().to_owned();
    shop.sandbox.pay(&invoice, Card::new("4111111111111111")).await.unwrap();
    shop.settle().await;
    let demo = json!({
        "name": ALL_OF_IT, "email": "someone.private@example.com", "phone": "0559876543",
        "company": ALL_OF_IT, "message": ALL_OF_IT, "consent": true,
    });
    shop.app.post("/api/v1/public/demo-request", demo).await;
    let visit = json!({
        "event": "landing_view", "distinct_id": uuid::Uuid::nil(),
        "properties": { "utm_source": ALL_OF_IT, "path": format!("/a?b={ALL_OF_IT}") },
    });
    shop.app.post("/api/v1/public/events", visit).await;
}

/// Genuine webhooks, and forged ones, whose every text is personal.
async fn webhooks(shop: &Shop) {
    let payment = json!({
        "id": "pay_of_nobody", "status": ALL_OF_IT, "description": ALL_OF_IT,
        "metadata": { "name": ALL_OF_IT }, "source": { "name": ALL_OF_IT, "message": ALL_OF_IT },
    });
    for kind in ["payment_paid", "payment_failed", ALL_OF_IT] {
        let event = json!({ "id": ALL_OF_IT, "type": kind, "data": payment });
        shop.deliver(&event).await;
        shop.deliver_raw(event.to_string()).await;
        shop.deliver_raw(format!("{event}{{")).await;
    }
}
