//! `GET /api/v1/admin/sentry-check`.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use dealix_sandbox::{Fault, Operation, Options, Sandbox, Trouble};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{READER_KEY, SERVICE_KEY, TestApp};

const PATH: &str = "/api/v1/admin/sentry-check";
const SOON: Duration = Duration::from_secs(10);

/// The service with a world to report to, and its jobs running.
async fn app_in_the_world(db: PgPool) -> (TestApp, Sandbox) {
    let world = Sandbox::start(Options::default()).await.unwrap();
    let app = TestApp::start_with(
        db,
        &[
            ("SENTRY_DSN", &world.sentry_dsn()),
            ("POSTHOG_HOST", world.posthog_url().as_str()),
            ("POSTHOG_API_KEY", world.posthog_key()),
        ],
    );
    app.app.start_jobs();
    (app, world)
}

#[sqlx::test(migrations = "./migrations")]
async fn a_probe_is_sent_once_sentry_has_confirmed_it_and_one_is_queued_for_posthog(db: PgPool) {
    let (app, world) = app_in_the_world(db).await;
    let request = Request::get(PATH).header("x-api-key", READER_KEY).header("x-request-id", "r-1");
    let answer = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!((&body["status"], &body["dsn_configured"]), (&json!("sent"), &json!(true)));
    assert_eq!(body["posthog"]["status"], "queued");

    let ledger = world.ledger();
    let report = ledger.sentry_events().next().unwrap();
    let event_id = body["event_id"].as_str().unwrap().replace('-', "");
    assert_eq!(report.event_id.as_deref(), Some(&*event_id));
    assert_eq!(report.payload["tags"]["request_id"], "r-1");
    assert_eq!(report.payload["environment"], "test");
    assert!(report.payload["release"].as_str().unwrap().starts_with("0.1.0+"));

    app.app.run_jobs_until_idle().await.unwrap();
    assert!(app.tasks.stop(SOON).await);
    let ledger = world.ledger();
    let event = ledger.posthog_events_named("ops_probe").next().unwrap();
    assert_eq!(body["posthog"]["uuid"], event.uuid);
}

#[sqlx::test(migrations = "./migrations")]
async fn what_sentry_did_not_confirm_has_failed(db: PgPool) {
    let (app, world) = app_in_the_world(db).await;
    for trouble in [Trouble::status(500), Trouble::status(403), Trouble::Hang] {
        world.fault(Fault::before(Operation::StoreEnvelope, trouble).once());
        let answer = app.get_as(READER_KEY, PATH).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json()["status"], "failed");
        assert_eq!(answer.json()["dsn_configured"], true);
    }
    assert!(app.tasks.stop(SOON).await);
}

#[sqlx::test(migrations = "./migrations")]
async fn without_a_dsn_and_a_key_of_posthog_both_are_disabled(db: PgPool) {
    let app = TestApp::start(db);
    let answer = app.get_as(READER_KEY, PATH).await;
    let disabled = json!({
        "status": "disabled",
        "dsn_configured": false,
        "posthog": { "status": "disabled" },
    });
    assert_eq!(answer.json(), disabled);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_dead_database_keeps_no_report_from_sentry(db: PgPool) {
    let (app, _world) = app_in_the_world(db.clone()).await;
    db.close().await;
    let body = app.get_as(READER_KEY, PATH).await.json();
    assert_eq!(body["status"], "sent");
    assert_eq!(body["posthog"], json!({ "status": "failed" }));
    assert!(app.tasks.stop(SOON).await);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_check_is_for_administrators(db: PgPool) {
    let app = TestApp::start(db);
    assert_eq!(app.get(PATH).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(app.get_as(SERVICE_KEY, PATH).await.status, StatusCode::FORBIDDEN);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_head_of_the_check_sends_nothing(db: PgPool) {
    let (app, world) = app_in_the_world(db).await;
    let request = Request::head(PATH).header("x-api-key", READER_KEY);
    let answer = app.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    // What was sent before the stop would be there after it.
    assert!(app.tasks.stop(SOON).await);
    assert!(app.app.flush_reports(SOON).await);
    assert_eq!(world.ledger().sentry_items().len(), 0);
    let queued: i64 =
        sqlx::query_scalar("select count(*) from outbox").fetch_one(&app.db).await.unwrap();
    assert_eq!(queued, 0);
}
