//! `GET /metrics`.

use axum::http::StatusCode;
use sqlx::PgPool;
use tower::ServiceExt;

use crate::harness::{ADMIN_KEY, READER_KEY, SERVICE_KEY, TestApp};

#[sqlx::test(migrations = "./migrations")]
async fn the_public_listener_shows_metrics_to_administrators_only(db: PgPool) {
    let app = TestApp::start(db);
    assert_eq!(app.get("/metrics").await.status, StatusCode::UNAUTHORIZED);
    for key in [SERVICE_KEY, READER_KEY] {
        assert_eq!(app.get_as(key, "/metrics").await.status, StatusCode::FORBIDDEN);
    }
    let answer = app.get_as(ADMIN_KEY, "/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
}

#[sqlx::test(migrations = "./migrations")]
async fn metrics_tell_rate_errors_duration_pool_process_and_build(db: PgPool) {
    let app = TestApp::start(db);
    app.app.check_health().await;
    app.app.upkeep();
    app.get("/live").await;
    let text = app.get_as(ADMIN_KEY, "/metrics").await;
    for series in [
        "error_rate_total ",
        "dealix_http_requests_total{method=\"GET\",route=\"/live\",status=\"200\"} ",
        "dealix_http_request_duration_seconds_bucket{method=\"GET\",route=\"/live\",le=\"0.005\"} ",
        "dealix_db_connections{state=\"idle\"} ",
        "dealix_db_connections_limit ",
        "dealix_process_uptime_seconds ",
        "dealix_build_info{version=\"",
        "dealix_health_status{check=\"postgres\",status=\"ok\"} ",
        "dealix_breaker_state{breaker=\"moyasar\"} ",
    ] {
        assert!(text.text().contains(series), "{series} is not in\n{}", text.text());
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn the_listener_for_metrics_asks_for_no_key_and_shows_nothing_else(db: PgPool) {
    let router = TestApp::start(db).app.metrics_router();
    let ask = async |path: &str| {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap().status()
    };
    assert_eq!(ask("/metrics").await, StatusCode::OK);
    assert_eq!(ask("/health").await, StatusCode::NOT_FOUND);
}
