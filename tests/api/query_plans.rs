//! How Postgres goes about what it is asked all the time, on tables that have grown.

use sqlx::PgPool;

/// The backlog's statement as the service has it.
fn backlog_statement() -> &'static str {
    let source = include_str!("../../src/db/webhook_events.rs");
    let (_, function) = source.split_once("pub async fn backlog(").unwrap();
    let (_, statement) = function.split_once("r#\"").unwrap();
    statement.split_once("\"#").unwrap().0
}

#[sqlx::test(migrations = "./migrations")]
async fn the_backlog_is_counted_without_reading_what_is_done(db: PgPool) {
    let fill = "insert into webhook_events (id, source, dedupe_key, body, body_sha256, status, \
        next_attempt_at, request_id, received_at) select gen_random_uuid(), 'moyasar', n::text, '', \
        '', case n % 1000 when 0 then 'received' when 1 then 'failed' else 'done' end, now(), 'plan', \
        now() from generate_series(1, 20000) n";
    sqlx::query(fill).execute(&db).await.unwrap();
    sqlx::query("analyze webhook_events").execute(&db).await.unwrap();
    let explain = sqlx::AssertSqlSafe(format!("explain {}", backlog_statement()));
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&db).await.unwrap();
    let plan = plan.join("\n");
    for index in ["webhook_events_due", "webhook_events_failed"] {
        assert!(plan.contains(index), "not by {index}:\n{plan}");
    }
    assert!(!plan.contains("Seq Scan"), "{plan}");
}
