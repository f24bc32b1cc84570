//! `TestApp`: the real router on a fresh database.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Mutex;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::response::Response;
use dealix::app::{App, Overrides, open_pool};
use dealix::clock::Clock;
use dealix::config::{Config, Sources, load};
use dealix::tasks::Tasks;
use http_body_util::BodyExt;
use serde_json::Value;
use sqlx::PgPool;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use uuid::Uuid;

use crate::openapi::Contract;

/// When every test begins.
pub const NOW: &str = "2026-01-02T03:04:05Z";

/// One key of every scope.
pub const SERVICE_KEY: &str = "service-key-for-tests-0123456789abcdef";
pub const READER_KEY: &str = "reader-key-for-tests-0123456789abcdef";
pub const ADMIN_KEY: &str = "admin-key-for-tests-0123456789abcdef";
/// Signs tokens.
pub const JWT_SECRET: &str = "jwt-secret-for-tests-0123456789abcdef";
/// Stands in every webhook.
pub const WEBHOOK_SECRET: &str = "webhook-secret-for-tests-0123456789abcdef";

/// The service, wired as in production, its clock held.
pub struct TestApp {
    /// Boxed, because it is part of every test's future.
    pub app: Box<App>,
    pub db: PgPool,
    pub clock: Clock,
    pub tasks: Tasks,
    front: BoxCloneSyncService<Request<Body>, Response, Infallible>,
}

impl TestApp {
    pub fn start(db: PgPool) -> Self {
        Self::start_with(db, &[])
    }

    /// Starts with some variables of the environment set.
    pub fn start_with(db: PgPool, variables: &[(&str, &str)]) -> Self {
        Self::build(&config(variables), db)
    }

    /// Starts with connections to Postgres of its own, opened as in production, to where the
    /// variables say that it is.
    pub fn start_alone(variables: &[(&str, &str)]) -> Self {
        let config = config(variables);
        Self::build(&config, open_pool(&config).unwrap())
    }

    fn build(config: &Config, db: PgPool) -> Self {
        let clock = Clock::held(NOW.parse().unwrap());
        let database = db.connect_options().get_database().unwrap_or_default().to_owned();
        let overrides = Overrides {
            clock: clock.clone(),
            redis_prefix: Some(redis_prefix(database)),
            ..Overrides::default()
        };
        let tasks = Tasks::default();
        let app = Box::new(App::build(config, db.clone(), tasks.clone(), overrides).unwrap());
        app.start_inbox();
        let front = BoxCloneSyncService::new(app.router());
        Self { app, db, clock, tasks, front }
    }

    /// `GET`, without a key.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// `GET`, with a key.
    pub async fn get_as(&self, key: &str, path: &str) -> Answer {
        let request = Request::get(path).header("x-api-key", key);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// `POST` of JSON, without a key.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(json(Request::post(path), &body)).await
    }

    /// `POST` of JSON, with a key.
    pub async fn post_as(&self, key: &str, path: &str, body: Value) -> Answer {
        self.send(json(Request::post(path).header("x-api-key", key), &body)).await
    }

    /// Sends any request; fails the test if the answer is not what the document promises.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (parts, body) = self.front.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        self.contract().await.check(&method, &path, &answer);
        answer
    }

    /// The document that this service serves.
    async fn contract(&self) -> &'static Contract {
        let document = Request::get("/openapi.json").body(Body::empty()).unwrap();
        Contract::get_or_read(async {
            let answer = self.front.clone().oneshot(document).await.unwrap();
            answer.into_body().collect().await.unwrap().to_bytes()
        })
        .await
    }
}

/// A request with a JSON body.
pub fn json(request: axum::http::request::Builder, body: &Value) -> Request<Body> {
    let request = request.header(header::CONTENT_TYPE, "application/json");
    request.body(body.to_string().into()).unwrap()
}

/// A request as nginx on this machine hands it on for a client.
pub fn from(client: &str, mut request: Request<Body>) -> Request<Body> {
    let peer: SocketAddr = "127.0.0.1:40000".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    request.headers_mut().insert("x-forwarded-for", client.parse().unwrap());
    request
}

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header that occurs once; empty if it does not occur.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The `code` of a failure.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

fn config(variables: &[(&str, &str)]) -> Config {
    let sources = Sources { environment: environment(variables), ..Sources::default() };
    load(&sources).unwrap().config
}

/// What the keys of a test begin with: instances on one database share them, and no other run does.
pub fn redis_prefix(database: String) -> String {
    static PREFIXES: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let mut prefixes = PREFIXES.lock().unwrap();
    let new = || format!("test-{}", Uuid::new_v4().simple());
    prefixes.entry(database).or_insert_with(new).clone()
}

/// Where the Redis of the test run is.
#[expect(clippy::disallowed_methods, reason = "the test run says where its stores are")]
pub fn redis_url() -> String {
    std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:1".to_owned())
}

/// The environment of a test: nothing of the machine's own but where its Redis is.
fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let redis = redis_url();
    let own = [
        ("APP_ENV", "test"),
        ("DATABASE_URL", "postgres://127.0.0.1:1/never-asked"),
        ("REDIS_URL", &redis),
        ("JWT_SECRET_KEY", JWT_SECRET),
        ("API_KEYS", SERVICE_KEY),
        ("ADMIN_READ_API_KEYS", READER_KEY),
        ("ADMIN_API_KEYS", ADMIN_KEY),
        ("MOYASAR_WEBHOOK_SECRET", WEBHOOK_SECRET),
        // A test that is not about limits never meets one.
        ("RATELIMIT_KEY_PER_MINUTE", "100000"),
        ("RATELIMIT_ADDRESS_PER_MINUTE", "100000"),
        ("RATELIMIT_CHECKOUT_PER_MINUTE", "100000"),
        ("RATELIMIT_WEBHOOK_PER_MINUTE", "100000"),
        ("CHECKOUTS_PER_EMAIL_HOURLY", "10000"),
    ];
    let all = own.iter().chain(variables);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Every method that a route may have.
pub const METHODS: [Method; 5] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
