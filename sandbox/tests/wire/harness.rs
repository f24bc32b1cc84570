//! A client with the right key, and a merchant that receives webhooks. No test lives here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use dealix_sandbox::{Options, Sandbox, WebhookTarget};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

/// The secret that the merchant registered.
pub const SECRET: &str = "a-shared-secret-between-two-tests";

/// A sandbox and a client that holds its keys.
pub struct Asked {
    pub sandbox: Sandbox,
    pub http: Client,
}

impl Asked {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let sandbox = Sandbox::start(options).await.unwrap();
        let http =
            Client::builder().user_agent("wire-test").redirect(Policy::none()).no_proxy().build();
        Self { sandbox, http: http.unwrap() }
    }

    /// A sandbox whose webhook goes to this merchant.
    pub async fn telling(merchant: &Merchant) -> Self {
        let webhook =
            Some(WebhookTarget { url: merchant.url.clone(), shared_secret: SECRET.to_owned() });
        Self::with(Options { webhook, ..Options::default() }).await
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.sandbox.base_url().join(path).unwrap();
        self.http.request(method, url).basic_auth(self.sandbox.secret_key(), Some(""))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.request(Method::POST, path).json(&body).send().await.unwrap()).await
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        answer(self.request(Method::PUT, path).json(&body).send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        answer(self.request(Method::DELETE, path).send().await.unwrap()).await
    }

    pub async fn page(&self, path: &str) -> (u16, String) {
        let response = self.request(Method::GET, path).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A new invoice over 115.00 SAR, with these fields on top.
    pub async fn invoice(&self, more: Value) -> Value {
        let (status, invoice) = self.post("v1/invoices", order(more)).await;
        assert_eq!(status, 201, "{invoice}");
        invoice
    }

    pub async fn invoice_id(&self) -> String {
        text(&self.invoice(json!({})).await["id"])
    }
}

/// A valid request for an invoice, with these fields on top.
pub fn order(more: Value) -> Value {
    let order = json!({"amount": 11_500, "currency": "SAR", "description": "Order 1042"});
    overlaid(order, more)
}

/// An object with the fields of another one on top.
pub fn overlaid(mut object: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (object.as_object_mut(), more) {
        fields.extend(more);
    }
    object
}

pub async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The names of an object's fields, sorted.
pub fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Something that the merchant received, and when.
#[derive(Debug, Clone)]
pub struct Received {
    pub at: Instant,
    pub body: Value,
}

/// A server that answers with the statuses it was given, the last one for ever; 0 never answers.
#[derive(Clone)]
pub struct Merchant {
    pub url: Url,
    statuses: Arc<Mutex<VecDeque<u16>>>,
    received: Arc<watch::Sender<Vec<Received>>>,
}

impl Merchant {
    pub async fn answering(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let merchant = Self {
            url: Url::parse(&url).unwrap(),
            statuses: Arc::new(Mutex::new(statuses.iter().copied().collect())),
            received: Arc::new(watch::Sender::new(Vec::new())),
        };
        let router = Router::new().fallback(receive).with_state(merchant.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        merchant
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    pub fn bodies(&self) -> Vec<Value> {
        self.received().into_iter().map(|received| received.body).collect()
    }

    /// Waits until this many requests have arrived.
    pub async fn has_received(&self, count: usize) -> Vec<Received> {
        let mut received = self.received.subscribe();
        received.wait_for(|received| received.len() >= count).await.unwrap().clone()
    }
}

async fn receive(State(merchant): State<Merchant>, body: String) -> (StatusCode, &'static str) {
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    let status = {
        let mut statuses = merchant.statuses.lock().unwrap();
        if statuses.len() > 1 { statuses.pop_front() } else { statuses.front().copied() }
    };
    merchant.received.send_modify(|list| list.push(Received { at: Instant::now(), body }));
    match status.unwrap() {
        0 => std::future::pending().await,
        status => (StatusCode::from_u16(status).unwrap(), "noted"),
    }
}
