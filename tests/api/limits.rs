//! The rate limits: who is counted on what, and what an answer says about it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use dealix_sandbox::cards;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{
    ADMIN_KEY, Answer, READER_KEY, SERVICE_KEY, TestApp, WEBHOOK_SECRET, from, json as json_body,
};
use crate::shop::{Shop, order};

/// Small budgets, of which a test can see the end.
const SMALL: [(&str, &str); 4] = [
    ("RATELIMIT_KEY_PER_MINUTE", "6"),
    ("RATELIMIT_ADDRESS_PER_MINUTE", "4"),
    ("RATELIMIT_CHECKOUT_PER_MINUTE", "2"),
    ("RATELIMIT_WEBHOOK_PER_MINUTE", "3"),
];

/// The limits as they are shipped.
const SHIPPED: [(&str, &str); 4] = [
    ("RATELIMIT_KEY_PER_MINUTE", "600"),
    ("RATELIMIT_ADDRESS_PER_MINUTE", "120"),
    ("RATELIMIT_CHECKOUT_PER_MINUTE", "10"),
    ("RATELIMIT_WEBHOOK_PER_MINUTE", "6000"),
];

const PLANS: &str = "/api/v1/pricing/plans";
const BREAKERS: &str = "/api/v1/admin/circuit-breakers";
const HERE: &str = "203.0.113.7";
const THERE: &str = "203.0.113.8";

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn get_as(key: &str, path: &str) -> Request<Body> {
    Request::get(path).header("x-api-key", key).body(Body::empty()).unwrap()
}

fn webhook(token: &str, id: &str) -> Request<Body> {
    let body = json!({ "id": id, "type": "ping", "secret_token": token }).to_string();
    Request::post("/api/v1/webhooks/moyasar").body(body.into()).unwrap()
}

/// How many of the same requests are let through before the first is not, and that one's answer.
async fn spend(app: &TestApp, request: impl Fn() -> Request<Body>) -> (u32, Answer) {
    let mut passed = 0;
    loop {
        let answer = app.send(request()).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            return (passed, answer);
        }
        passed += 1;
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn the_shipped_limits_are_those_of_the_contract(db: PgPool) {
    let app = TestApp::start_with(db, &SHIPPED);
    assert_eq!(spend(&app, || from(HERE, get(PLANS))).await.0, 120);
    assert_eq!(spend(&app, || from(HERE, get_as(READER_KEY, BREAKERS))).await.0, 600);
    let empty = || json_body(Request::post("/api/v1/pricing/checkout"), &json!({}));
    assert_eq!(spend(&app, || from(HERE, empty())).await.0, 10);
    let forged = app.send(from(HERE, webhook("guess", "e"))).await;
    assert_eq!(forged.header("ratelimit-policy"), r#""webhook-refused";q=6000;w=60"#);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_counted_answer_says_what_is_left_and_a_refused_one_when_to_come_back(db: PgPool) {
    let app = TestApp::start_with(db, &SMALL);
    let ask = async || app.send(from(HERE, get(PLANS))).await;
    let told = |answer: &Answer| {
        let name = ["ratelimit-policy", "ratelimit", "retry-after"];
        name.map(|name| answer.header(name).to_owned())
    };
    assert_eq!(told(&ask().await), [r#""address";q=4;w=60"#, r#""address";r=3;t=15"#, ""]);
    for _ in 0..3 {
        assert_eq!(ask().await.status, StatusCode::OK);
    }
    let refused = ask().await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        (refused.code(), &refused.json()["retryable"]),
        ("rate-limited".into(), &json!(true))
    );
    assert_eq!(told(&refused), [r#""address";q=4;w=60"#, r#""address";r=0;t=60"#, "15"]);
    app.clock.advance(Duration::from_millis(14_999));
    assert_eq!(ask().await.header("retry-after"), "1");
    app.clock.advance(Duration::from_millis(1));
    assert_eq!(ask().await.status, StatusCode::OK);
    assert_eq!(ask().await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_browser_may_read_that_it_asked_too_often(db: PgPool) {
    let app = TestApp::start_with(db, &SMALL);
    let request = || {
        let mut request = from(HERE, get(PLANS));
        request.headers_mut().insert("origin", "https://dealix.me".parse().unwrap());
        request
    };
    let (_, refused) = spend(&app, request).await;
    assert_eq!(refused.header("access-control-allow-origin"), "https://dealix.me");
    let exposed = refused.header("access-control-expose-headers");
    assert!(exposed.contains("ratelimit,") && exposed.contains("retry-after"), "{exposed}");
}

#[sqlx::test(migrations = "./migrations")]
async fn each_address_each_key_and_the_checkout_has_a_budget_of_its_own(db: PgPool) {
    let shop = Shop::open_with(db, &SMALL).await;
    let app = &shop.app;
    assert_eq!(spend(app, || from(HERE, get(PLANS))).await.0, 4);
    assert_eq!(spend(app, || from(THERE, get(PLANS))).await.0, 4);
    let buy = || json_body(Request::post("/api/v1/pricing/checkout"), &order());
    assert_eq!(spend(app, || from(HERE, buy())).await.0, 2);
    assert_eq!(shop.count("checkouts").await, 2);
    for key in [ADMIN_KEY, READER_KEY] {
        let (passed, refused) = spend(app, || from(HERE, get_as(key, BREAKERS))).await;
        assert_eq!((passed, refused.header("ratelimit-policy")), (6, r#""key";q=6;w=60"#));
    }
    // A key's budget is the key's, wherever it is used and whatever for.
    let elsewhere = app.send(from(THERE, get_as(ADMIN_KEY, PLANS))).await;
    assert_eq!(elsewhere.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(app.send(from(HERE, get_as(SERVICE_KEY, PLANS))).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_key_that_is_not_ours_counts_on_the_address_of_who_guesses(db: PgPool) {
    let app = TestApp::start_with(db, &SMALL);
    let guess = |key: &str| from(HERE, get_as(key, BREAKERS));
    for key in ["a", "b", "c", "d"] {
        assert_eq!(app.send(guess(key)).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(app.send(guess("e")).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(app.send(guess(ADMIN_KEY)).await.status, StatusCode::OK);
    assert_eq!(app.send(from(THERE, get_as("f", BREAKERS))).await.status, StatusCode::UNAUTHORIZED);
}

#[sqlx::test(migrations = "./migrations")]
async fn health_and_preflights_are_never_counted(db: PgPool) {
    let app = TestApp::start_with(db, &SMALL);
    spend(&app, || from(HERE, get(PLANS))).await;
    for path in [
        "/",
        "/health",
        "/healthz",
        "/live",
        "/ready",
        "/api/v1/public/health",
        "/api/v1/health",
        "/api/v1/status",
        "/api/v1/ready",
        "/health/deep",
        "/metrics",
    ] {
        for _ in 0..10 {
            let answer = app.send(from(HERE, get(path))).await;
            assert_ne!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
            assert_eq!(answer.header("ratelimit"), "", "{path}");
        }
    }
    let preflight = || {
        let request = Request::builder().method(Method::OPTIONS).uri(PLANS);
        let request = request.header("origin", "https://dealix.me");
        request.header("access-control-request-method", "GET").body(Body::empty()).unwrap()
    };
    for _ in 0..10 {
        assert_eq!(app.send(from(HERE, preflight())).await.status, StatusCode::OK);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn nobody_escapes_by_naming_another_address_and_nobody_is_blamed_for_it(db: PgPool) {
    let app = TestApp::start_with(db, &SMALL);
    // nginx appends whom it saw to whatever the client wrote.
    let (passed, _) = spend(&app, || {
        let invented = format!("203.0.113.{}, {HERE}", any_byte());
        from(&invented, get(PLANS))
    })
    .await;
    assert_eq!(passed, 4);
    assert_eq!(app.send(from(THERE, get(PLANS))).await.status, StatusCode::OK);
    // Who reaches us without a proxy is himself.
    let direct = || {
        let mut request = from(THERE, get(PLANS));
        let peer: SocketAddr = "203.0.113.19:5000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        request
    };
    assert_eq!(spend(&app, direct).await.0, 4);
    assert_eq!(app.send(from(THERE, get(PLANS))).await.status, StatusCode::OK);
}

/// Another number at every call.
fn any_byte() -> u8 {
    uuid::Uuid::new_v4().as_bytes()[0]
}

#[sqlx::test(migrations = "./migrations")]
async fn the_switch_turns_every_limit_off(db: PgPool) {
    let off = [("RATELIMIT_ENABLED", "false")];
    let app = TestApp::start_with(db, &[&SMALL[..], &off].concat());
    for _ in 0..20 {
        let answer = app.send(from(HERE, get(PLANS))).await;
        assert_eq!((answer.status, answer.header("ratelimit")), (StatusCode::OK, ""));
        let forged = app.send(from(HERE, webhook("guess", "e"))).await;
        assert_eq!(forged.status, StatusCode::UNAUTHORIZED);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn forged_webhooks_use_up_the_budget_of_who_sends_them_and_no_other(db: PgPool) {
    let app = TestApp::start_with(db, &SMALL);
    let (passed, refused) = spend(&app, || from(HERE, webhook("guess", "e"))).await;
    assert_eq!((passed, refused.code()), (3, "rate-limited".to_owned()));
    assert_eq!(refused.header("ratelimit-policy"), r#""webhook-refused";q=3;w=60"#);
    let elsewhere = app.send(from(THERE, webhook("guess", "e"))).await;
    assert_eq!(elsewhere.status, StatusCode::UNAUTHORIZED);
    // Also from the very same address.
    let genuine = app.send(from(HERE, webhook(WEBHOOK_SECRET, "g"))).await;
    assert_eq!((genuine.status, &genuine.json()["status"]), (StatusCode::OK, &json!("ignored")));
}

#[sqlx::test(migrations = "./migrations")]
async fn an_invoice_callback_over_its_budget_is_200_and_prompts_nothing(db: PgPool) {
    let shop = Shop::open_with(db, &SMALL).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let callback = shop.sandbox.ledger().invoices()[0].callback_url.clone().unwrap();
    let path = callback.strip_prefix("http://127.0.0.1:8001").unwrap();
    let call_back = async |client: &str, path: &str| {
        let answer = shop.app.send(from(client, json_body(Request::post(path), &json!({})))).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "status": "ok" })));
        answer.header("ratelimit").to_owned()
    };
    for left in ["2", "1", "0"] {
        let told = call_back(HERE, "/api/v1/webhooks/moyasar/invoices/guess").await;
        assert!(told.starts_with(&format!(r#""webhook-refused";r={left};"#)), "{told}");
    }
    // The very same is heard from one who has asked for too much, and does something for another.
    for (client, looks) in [(HERE, 0), (THERE, 1)] {
        call_back(client, path).await;
        shop.run_jobs().await;
        assert_eq!(shop.sandbox.ledger().requests("fetch_invoice"), looks);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn genuine_webhooks_share_one_budget_wherever_they_come_from(db: PgPool) {
    let app = TestApp::start_with(db, &SMALL);
    let large = || {
        let body = Body::from(vec![b' '; 300 * 1024]);
        from(THERE, Request::post("/api/v1/webhooks/moyasar").body(body).unwrap())
    };
    assert_eq!(spend(&app, large).await.0, 3);
    for (client, id) in [(HERE, "a"), (THERE, "b"), (HERE, "c")] {
        let answer = app.send(from(client, webhook(WEBHOOK_SECRET, id))).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("ratelimit-policy"), r#""webhook";q=3;w=60"#);
    }
    let refused = app.send(from(HERE, webhook(WEBHOOK_SECRET, "d"))).await;
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, "20")
    );
    app.clock.advance(Duration::from_secs(20));
    let again = app.send(from(HERE, webhook(WEBHOOK_SECRET, "d"))).await;
    assert_eq!((again.status, &again.json()["status"]), (StatusCode::OK, &json!("ignored")));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_client_learns_of_limits_from_the_document(db: PgPool) {
    let app = TestApp::start(db);
    let document = app.get("/openapi.json").await.json();
    let has_429 = |path: &str, method: &str| {
        document["paths"][path][method]["responses"].get("429").is_some()
    };
    assert!(has_429(PLANS, "get") && has_429("/api/v1/pricing/checkout", "post"));
    assert!(has_429("/api/v1/webhooks/moyasar", "post") && has_429(BREAKERS, "get"));
    assert!(!has_429("/health", "get") && !has_429("/metrics", "get"));
    assert!(!has_429("/api/v1/webhooks/moyasar/invoices/{token}", "post"));
}
