//! Readiness and deep health: what is known, how long it counts, and that nothing that hangs holds
//! up the answer.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use dealix_sandbox::{Fault, Operation, Options, Sandbox, Service, Trouble};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::harness::{ADMIN_KEY, Answer, READER_KEY, SERVICE_KEY, TestApp};
use crate::proxy::Proxy;
use crate::redis_server::{DURABLE, RedisServer};

/// Nobody listens here.
const DEAD_POSTGRES: (&str, &str) = ("DATABASE_URL", "postgres://dealix@127.0.0.1:1/dealix");
const DEAD_REDIS: (&str, &str) = ("REDIS_URL", "redis://127.0.0.1:1");

/// What an answer from memory may take on a busy machine.
pub const AT_ONCE: Duration = Duration::from_millis(100);

pub async fn checked(app: &TestApp) -> Answer {
    app.app.check_health().await;
    app.get("/health/deep").await
}

pub fn check<'a>(deep: &'a Value, name: &str) -> &'a Value {
    &deep["checks"][name]
}

#[sqlx::test(migrations = "./migrations")]
async fn before_the_first_round_nothing_is_vouched_for(db: PgPool) {
    let app = TestApp::start(db);
    let deep = app.get("/health/deep").await;
    assert_eq!(deep.status, StatusCode::SERVICE_UNAVAILABLE);
    let deep = deep.json();
    assert_eq!((&deep["status"], &deep["checked_at"]), (&json!("fail"), &Value::Null));
    let unknown = json!({ "status": "unknown", "ms": null, "age_ms": null });
    assert_eq!(check(&deep, "postgres"), &unknown);
    assert_eq!(check(&deep, "backup"), &unknown);

    let ready = app.get("/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json(), json!({ "status": "not_ready", "reason": "starting" }));
    assert_eq!(app.get("/api/v1/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let health = app.get("/api/v1/health").await;
    assert_eq!(health.status, StatusCode::OK);
    assert_eq!(health.json()["status"], "degraded");
}

#[sqlx::test(migrations = "./migrations")]
async fn when_all_is_well_every_probe_says_so(db: PgPool) {
    let app = TestApp::start(db);
    let deep = checked(&app).await;
    assert_eq!(deep.status, StatusCode::OK, "{deep:?}");
    let deep = deep.json();
    assert_eq!(deep["status"], "ok");
    assert_eq!(deep["version"], "0.1.0");
    assert_eq!(deep["checked_at"], "2026-01-02T03:04:05Z");
    assert_eq!(deep.get("webhook_verify_all"), None);
    // The clock is held, so everything takes no time and has no age.
    let ok = json!({ "status": "ok", "ms": 0, "age_ms": 0 });
    assert_eq!(check(&deep, "postgres"), &ok);
    assert_eq!(check(&deep, "redis"), &ok);
    let migrations = json!({ "status": "ok", "ms": 0, "age_ms": 0, "missing": [] });
    assert_eq!(check(&deep, "migrations"), &migrations);
    let disabled = json!({ "status": "disabled", "ms": null, "age_ms": 0 });
    for name in ["moyasar", "posthog", "reconciliation", "backup"] {
        assert_eq!(check(&deep, name), &disabled, "{name}");
    }
    let dlq = json!({
        "status": "ok", "ms": 0, "age_ms": 0, "depth": 0, "oldest_age_s": null,
    });
    assert_eq!(check(&deep, "dlq"), &dlq);
    let llm = json!({
        "status": "disabled", "ms": null, "age_ms": 0, "providers": [], "breakers": {},
    });
    assert_eq!(check(&deep, "llm_providers"), &llm);
    assert_eq!(deep["checks"].as_object().unwrap().len(), 9);

    let ready = app.get("/ready").await;
    assert_eq!((ready.status, ready.json()), (StatusCode::OK, json!({ "status": "ready" })));
    let ready = app.get("/api/v1/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
    let timestamp = "2026-01-02T03:04:05Z";
    let connected = json!({ "status": "ready", "database": "connected", "timestamp": timestamp });
    assert_eq!(ready.json(), connected);
    for path in ["/api/v1/health", "/api/v1/status"] {
        let expected = json!({
            "status": "healthy", "timestamp": timestamp, "version": "0.1.0", "app": "Dealix",
            "environment": "test", "database": "ok", "redis": "ok",
        });
        assert_eq!(app.get(path).await.json(), expected);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn head_answers_wherever_get_does(db: PgPool) {
    let app = TestApp::start(db);
    app.app.check_health().await;
    for path in ["/ready", "/api/v1/health", "/api/v1/status", "/api/v1/ready", "/health/deep"] {
        let request = Request::builder().method(Method::HEAD).uri(path);
        let answer = app.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(answer.body.is_empty(), "{path}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn who_drains_is_not_ready(db: PgPool) {
    let app = TestApp::start(db);
    app.app.check_health().await;
    app.app.requests().stopping().cancel();
    let ready = app.get("/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json(), json!({ "status": "not_ready", "reason": "draining" }));
    assert_eq!(app.get("/health/deep").await.status, StatusCode::OK);
    let ready = app.get("/api/v1/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["database"], "connected");
}

#[sqlx::test(migrations = "./migrations")]
async fn who_was_told_to_stop_is_not_ready(db: PgPool) {
    let app = TestApp::start(db);
    app.app.check_health().await;
    app.tasks.stopping().cancel();
    assert_eq!(app.get("/ready").await.json()["reason"], "draining");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_missing_migration_of_this_binary_is_not_ready(db: PgPool) {
    let app = TestApp::start(db.clone());
    let newest = "delete from _sqlx_migrations where version = \
        (select max(version) from _sqlx_migrations) returning version";
    let version: i64 = sqlx::query_scalar(newest).fetch_one(&db).await.unwrap();
    let deep = checked(&app).await;
    assert_eq!(deep.status, StatusCode::OK);
    let deep = deep.json();
    assert_eq!(deep["status"], "degraded");
    let missing = json!({
        "status": "fail", "ms": 0, "age_ms": 0, "reason": "migrations_missing", "missing": [version],
    });
    assert_eq!(check(&deep, "migrations"), &missing);
    let ready = app.get("/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json(), json!({ "status": "not_ready", "reason": "migrations" }));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_migration_of_a_newer_binary_is_fine(db: PgPool) {
    let app = TestApp::start(db.clone());
    let newer =
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
        values (99991231000000, 'from the future', true, '', 1)";
    sqlx::query(newer).execute(&db).await.unwrap();
    app.app.check_health().await;
    assert_eq!(app.get("/ready").await.status, StatusCode::OK);
}

#[sqlx::test(migrations = false)]
async fn a_database_without_a_schema_is_not_ready(db: PgPool) {
    let app = TestApp::start(db);
    app.app.check_health().await;
    assert_eq!(app.get("/ready").await.json()["reason"], "migrations");
}

#[tokio::test]
async fn the_first_round_ends_within_two_seconds_although_everything_is_down() {
    let app = TestApp::start_alone(&[DEAD_POSTGRES, DEAD_REDIS]);
    let began = Instant::now();
    app.app.check_health().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    let deep = app.get("/health/deep").await;
    assert_eq!(deep.status, StatusCode::SERVICE_UNAVAILABLE);
    let deep = deep.json();
    assert_eq!(deep["status"], "fail");
    let unreachable = json!({ "status": "fail", "ms": null, "age_ms": 0, "error": "unreachable" });
    assert_eq!(check(&deep, "postgres"), &unreachable);
    assert_eq!(check(&deep, "redis"), &unreachable);
    assert_eq!(app.get("/ready").await.json()["reason"], "postgres");
    let health = app.get("/api/v1/health").await.json();
    assert_eq!(health["status"], "degraded");
    assert_eq!((&health["database"], &health["redis"]), (&json!("error"), &json!("error")));
    let ready = app.get("/api/v1/ready").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["database"], "unavailable");
}

#[tokio::test]
async fn only_administrators_read_what_a_failing_part_said() {
    let app = TestApp::start_alone(&[DEAD_POSTGRES, DEAD_REDIS]);
    app.app.check_health().await;
    let detail = |answer: Answer| check(&answer.json(), "redis").get("detail").cloned();
    assert_eq!(detail(app.get("/health/deep").await), None);
    assert_eq!(detail(app.get_as(SERVICE_KEY, "/health/deep").await), None);
    for key in [READER_KEY, ADMIN_KEY] {
        let detail = detail(app.get_as(key, "/health/deep").await).unwrap();
        assert!(!detail.as_str().unwrap().is_empty());
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_thousand_requests_cause_no_probe(db: PgPool) {
    let (postgres, database_url) = Proxy::to_postgres(&db).await;
    let (redis, redis_url) = Proxy::to_redis().await;
    let app = TestApp::start_alone(&[("DATABASE_URL", &database_url), ("REDIS_URL", &redis_url)]);
    app.app.check_health().await;
    let asked = (postgres.asked(), redis.asked());
    for _ in 0..250 {
        for path in ["/health/deep", "/ready", "/api/v1/health", "/api/v1/ready"] {
            assert_eq!(app.get(path).await.status, StatusCode::OK);
        }
    }
    assert_eq!((postgres.asked(), redis.asked()), asked);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_result_has_an_age_and_counts_for_three_intervals(db: PgPool) {
    let app = TestApp::start(db);
    app.app.check_health().await;
    app.clock.advance(Duration::from_secs(15));
    let deep = app.get("/health/deep").await;
    assert_eq!(deep.status, StatusCode::OK);
    assert_eq!(check(&deep.json(), "postgres")["age_ms"], 15_000);

    app.clock.advance(Duration::from_millis(1));
    let deep = app.get("/health/deep").await;
    assert_eq!(deep.status, StatusCode::SERVICE_UNAVAILABLE);
    let stale = json!({ "status": "fail", "ms": null, "age_ms": 15_001, "error": "timeout" });
    assert_eq!(check(&deep.json(), "postgres"), &stale);
    assert_eq!(deep.json()["checked_at"], "2026-01-02T03:04:05Z");
    assert_eq!(app.get("/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redis_that_may_forget_is_degraded_with_the_reason(db: PgPool) {
    let cases: [(&[&str], &str); 3] = [
        (&["--appendonly", "no", "--maxmemory-policy", "noeviction"], "aof_off"),
        (&["--appendonly", "yes", "--appendfsync", "everysec"], "appendfsync_not_always"),
        (
            &[
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--maxmemory-policy",
                "allkeys-lru",
            ],
            "maxmemory_policy_evicts",
        ),
    ];
    for (settings, reason) in cases {
        let redis = RedisServer::start(settings).await;
        let app = TestApp::start_with(db.clone(), &[("REDIS_URL", &redis.url(""))]);
        let deep = checked(&app).await;
        assert_eq!(deep.status, StatusCode::OK);
        assert_eq!(deep.json()["status"], "degraded");
        let degraded = json!({ "status": "degraded", "ms": 0, "age_ms": 0, "reason": reason });
        assert_eq!(check(&deep.json(), "redis"), &degraded);
        assert_eq!(app.get("/api/v1/health").await.json()["redis"], "ok");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redis_that_hides_its_settings_has_to_confirm_a_write(db: PgPool) {
    let user = ["--user", "app", "on", ">pass", "~*", "+@all", "-config"];
    let redis = RedisServer::start(&[DURABLE, &user].concat()).await;
    let url = redis.url("?user=app&pass=pass");
    let app = TestApp::start_with(db, &[("REDIS_URL", &url)]);
    let deep = checked(&app).await.json();
    // Only servers from 7.2 on know the question.
    let (status, reason) = if redis.knows_waitaof().await {
        ("ok", Value::Null)
    } else {
        ("degraded", json!("fsync_unconfirmed"))
    };
    assert_eq!(
        (&check(&deep, "redis")["status"], &check(&deep, "redis")["reason"]),
        (&json!(status), &reason)
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redis_that_does_not_know_us_fails_for_our_credentials(db: PgPool) {
    let redis = RedisServer::start(&["--requirepass", "right"]).await;
    for user in ["", "?pass=wrong"] {
        let app = TestApp::start_with(db.clone(), &[("REDIS_URL", &redis.url(user))]);
        assert_eq!(check(&checked(&app).await.json(), "redis")["error"], "auth", "{user}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn moyasar_and_posthog_are_read_once_a_minute_when_idle(db: PgPool) {
    let (app, world) = app_in_the_world(db).await;
    let asked = || {
        let ledger = world.ledger();
        [Operation::ListAvailableEvents, Operation::PosthogHealth].map(|it| ledger.requests(it))
    };
    for _ in 0..12 {
        let deep = checked(&app).await.json();
        let ok = json!({ "status": "ok", "ms": 0, "age_ms": 0, "breaker": "closed" });
        assert_eq!((check(&deep, "moyasar"), check(&deep, "posthog")), (&ok, &ok));
        app.clock.advance(Duration::from_secs(5));
    }
    assert_eq!(asked(), [1, 1]);
    checked(&app).await;
    assert_eq!(asked(), [2, 2]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_failing_service_degrades_the_whole_at_worst(db: PgPool) {
    let (app, world) = app_in_the_world(db).await;
    world.fault(Fault::before(Service::Moyasar, Trouble::status(401)));
    world.fault(Fault::before(Service::Posthog, Trouble::status(500)));
    let deep = checked(&app).await;
    assert_eq!(deep.status, StatusCode::OK);
    assert_eq!(deep.json()["status"], "degraded");
    assert_eq!(check(&deep.json(), "moyasar")["error"], "auth");
    assert_eq!(check(&deep.json(), "posthog")["error"], "refused");

    // Asked once a minute, it takes five minutes until its breaker opens.
    for _ in 0..4 {
        app.clock.advance(Duration::from_mins(1));
        app.app.check_health().await;
    }
    let deep = app.get("/health/deep").await.json();
    let open = json!({
        "status": "fail", "ms": null, "age_ms": 0, "error": "breaker_open", "breaker": "open",
    });
    assert_eq!(check(&deep, "posthog"), &open);
}

#[sqlx::test(migrations = "./migrations")]
async fn production_without_a_language_model_and_with_unverified_webhooks_says_so(db: PgPool) {
    let world = Sandbox::start(Options::default()).await.unwrap();
    let app = TestApp::start_with(
        db,
        &[
            ("APP_ENV", "production"),
            ("APP_URL", "https://api.dealix.me"),
            ("DATABASE_URL", "postgres://127.0.0.1:1/never-asked"),
            ("MOYASAR_BASE_URL", world.moyasar_url().as_str()),
            ("MOYASAR_SECRET_KEY", world.secret_key()),
            ("WEBHOOK_VERIFY_ALL", "false"),
        ],
    );
    let deep = checked(&app).await;
    assert_eq!(deep.status, StatusCode::OK);
    let deep = deep.json();
    assert_eq!(deep["status"], "degraded");
    assert_eq!(deep["webhook_verify_all"], "refused");
    let no_key = json!({
        "status": "fail", "ms": null, "age_ms": 0, "error": "auth", "reason": "not_configured",
        "providers": [], "breakers": {},
    });
    assert_eq!(check(&deep, "llm_providers"), &no_key);
    assert_eq!(check(&deep, "posthog")["reason"], "not_configured");
}

#[sqlx::test(migrations = "./migrations")]
async fn providers_with_a_key_are_listed_in_their_order(db: PgPool) {
    let keys = [("GROQ_API_KEY", "gsk_1,gsk_2"), ("ANTHROPIC_API_KEY", "sk-ant-1")];
    let app = TestApp::start_with(db, &keys);
    let deep = checked(&app).await.json();
    assert_eq!(check(&deep, "llm_providers")["providers"], json!(["groq", "anthropic"]));
}

#[sqlx::test(migrations = "./migrations")]
async fn who_asks_for_health_json_gets_the_form_of_the_draft(db: PgPool) {
    let app = TestApp::start(db);
    app.app.check_health().await;
    let accept = "text/html, Application/Health+JSON; q=0.9";
    let request = Request::get("/health/deep").header("accept", accept);
    let answer = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/health+json");
    let health = answer.json();
    assert_eq!(health["status"], "pass");
    let postgres = json!([{
        "componentType": "datastore", "status": "pass", "observedValue": 0, "observedUnit": "ms",
        "time": "2026-01-02T03:04:05Z",
    }]);
    assert_eq!(health["checks"]["postgres:responseTime"], postgres);
    assert_eq!(health["checks"].get("backup:responseTime"), None);

    app.clock.advance(Duration::from_mins(1));
    let request = Request::get("/health/deep").header("accept", accept);
    let answer = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["status"], "fail");
    assert_eq!(answer.json()["checks"]["redis:responseTime"][0]["output"], "timeout");
}

/// The service with outside services that work.
async fn app_in_the_world(db: PgPool) -> (TestApp, Sandbox) {
    let world = Sandbox::start(Options::default()).await.unwrap();
    let app = TestApp::start_with(
        db,
        &[
            ("MOYASAR_BASE_URL", world.moyasar_url().as_str()),
            ("MOYASAR_SECRET_KEY", world.secret_key()),
            ("POSTHOG_HOST", world.posthog_url().as_str()),
            ("POSTHOG_API_KEY", world.posthog_key()),
        ],
    );
    (app, world)
}
