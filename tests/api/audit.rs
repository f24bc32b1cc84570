//! The audit, CONTRACT section 11.

use axum::http::StatusCode;
use serde_json::Value;
use sqlx::PgPool;

use crate::harness::{READER_KEY, SERVICE_KEY, TestApp};

const AUDIT: &str = "/api/v1/admin/audit";

async fn page(app: &TestApp, query: &str) -> Value {
    let answer = app.get_as(READER_KEY, &format!("{AUDIT}?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

fn subjects(page: &Value) -> Vec<i32> {
    let rows = page["audit"].as_array().unwrap().iter();
    rows.map(|row| row["subject"].as_str().unwrap().parse().unwrap()).collect()
}

#[sqlx::test(migrations = "./migrations")]
async fn the_audit_is_read_by_actor_action_and_time_in_pages(db: PgPool) {
    let app = TestApp::start(db);
    sqlx::query(
        "insert into audit_log (id, happened_at, actor, action, subject, reason, after)
         select lpad(n::text, 32, '0')::uuid, timestamptz '2026-01-02T00:00:00Z' + n * interval '1 s',
             case n % 2 when 0 then 'key:even' else 'key:odd' end,
             case n % 3 when 0 then 'review.resolved' else 'breaker.forced' end,
             n::text, 'because', json_build_object('n', n)
         from generate_series(1, 120) n",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let (mut query, mut seen) = (String::new(), Vec::new());
    loop {
        let page = page(&app, &query).await;
        seen.push(subjects(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("cursor={cursor}");
    }
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 20]);
    assert_eq!(seen.concat(), (1..=120).rev().collect::<Vec<_>>());

    let of_one = page(&app, "actor=key:even&action=review.resolved").await;
    let expected: Vec<_> = (1..=120).rev().filter(|n| n % 6 == 0).collect();
    assert_eq!(subjects(&of_one), expected);
    assert_eq!(of_one["audit"][0]["after"]["n"], 120);
    assert_eq!(of_one["audit"][0]["reason"], "because");
    let late = page(&app, "since=2026-01-02T00:01:58Z").await;
    assert_eq!(subjects(&late), [120, 119, 118]);
    for wrong in ["since=yesterday", "cursor=7", "actor="] {
        let answer = app.get_as(READER_KEY, &format!("{AUDIT}?{wrong}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    assert_eq!(app.get_as(SERVICE_KEY, AUDIT).await.status, StatusCode::FORBIDDEN);
    assert_eq!(app.get(AUDIT).await.status, StatusCode::UNAUTHORIZED);
}
