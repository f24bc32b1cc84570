//! Whoever is on duty is told of what needs a person: once somebody has taken it, and until then again.

use dealix_sandbox::{Fault, Operation, Options, Sandbox, Trouble};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::TestApp;

/// Two questions that a process has committed, and ended.
async fn questions_of_the_dead(db: &PgPool) -> [Uuid; 2] {
    let ids = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let ask = "insert into reviews (id, kind, payment_id, event_id, difference, opened_at)
        select id, 'test', 'p', id, 'it differs', now() from unnest($1::uuid[]) as id";
    sqlx::query(ask).bind(&ids[..]).execute(db).await.unwrap();
    ids
}

async fn unannounced(db: &PgPool) -> i64 {
    let count = "select count(*) from reviews where announced_at is null";
    sqlx::query_scalar(count).fetch_one(db).await.unwrap()
}

#[sqlx::test(migrations = "./migrations")]
async fn a_question_is_announced_until_sentry_has_taken_it_and_stays_one_matter(db: PgPool) {
    let world = Sandbox::start(Options::default()).await.unwrap();
    let app = TestApp::start_with(db, &[("SENTRY_DSN", &world.sentry_dsn())]);
    app.app.start_reports();
    let ids = questions_of_the_dead(&app.db).await;

    world.fault(Fault::before(Operation::StoreEnvelope, Trouble::status(500)));
    app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(unannounced(&app.db).await, 2);
    assert_eq!(world.ledger().sentry_events().count(), 0);

    world.clear_faults();
    for _ in 0..2 {
        app.app.run_jobs_until_idle().await.unwrap();
        assert_eq!(unannounced(&app.db).await, 0);
        let ledger = world.ledger();
        let told: Vec<_> = ledger.sentry_events().map(|event| &event.payload).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        for (event, id) in told.iter().zip(ids) {
            assert_eq!(event["fingerprint"], json!([format!("review {id}")]));
            assert_eq!(event["message"], "A person must decide: it differs");
            assert_eq!(event["extra"]["payment.id"], "p");
        }
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn an_answer_that_is_lost_makes_the_same_matter_once_more(db: PgPool) {
    let world = Sandbox::start(Options::default()).await.unwrap();
    let app = TestApp::start_with(db, &[("SENTRY_DSN", &world.sentry_dsn())]);
    app.app.start_reports();
    questions_of_the_dead(&app.db).await;
    world.fault(Fault::after(Operation::StoreEnvelope, Trouble::Reset).once());
    app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(unannounced(&app.db).await, 0);
    let ledger = world.ledger();
    let mut matters: Vec<_> =
        ledger.sentry_events().map(|event| event.payload["fingerprint"].to_string()).collect();
    assert_eq!(matters.len(), 3);
    matters.sort();
    matters.dedup();
    assert_eq!(matters.len(), 2);
}

#[sqlx::test(migrations = "./migrations")]
async fn without_sentry_the_log_is_who_is_told(db: PgPool) {
    let app = TestApp::start(db);
    questions_of_the_dead(&app.db).await;
    app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(unannounced(&app.db).await, 0);
}
