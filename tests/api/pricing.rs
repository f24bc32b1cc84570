//! The price list, CONTRACT section 3.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Answer, TestApp};

async fn ask(app: &TestApp, path: &str, if_none_match: &str) -> Answer {
    let request = Request::get(path).header("if-none-match", if_none_match);
    app.send(request.body(Body::empty()).unwrap()).await
}

#[sqlx::test(migrations = "./migrations")]
async fn the_price_list_has_the_three_plans_in_both_languages(db: PgPool) {
    let app = TestApp::start(db);
    let answer = app.get("/api/v1/pricing/plans").await;
    assert_eq!(answer.status, StatusCode::OK);
    let list = answer.json();
    assert_eq!(list["currency"], "SAR");
    let plans: Vec<_> = list["plans"].as_array().unwrap().iter().collect();
    let prices: Vec<_> = plans
        .iter()
        .map(|plan| json!([plan["id"], plan["price_sar"], plan["amount_halalas"], plan["billing"]]))
        .collect();
    assert_eq!(
        prices,
        [
            json!(["starter", 990, 99_000, "monthly"]),
            json!(["growth", 2490, 249_000, "monthly"]),
            json!(["enterprise", 0, 0, "custom"]),
        ]
    );
    assert_eq!(plans[0]["name_en"], "Starter");
    assert_eq!(plans[0]["name_ar"], "الأساسية");
    for plan in plans {
        let count = |name: &str| plan[name].as_array().unwrap().len();
        assert_eq!(count("features_en"), count("features_ar"));
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn the_test_plan_is_never_listed(db: PgPool) {
    let app = TestApp::start(db);
    assert!(!app.get("/api/v1/pricing/plans").await.text().contains("pilot"));
    let answer = app.get("/api/v1/pricing/plans/pilot_1sar").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "plan-not-found".into()));
}

#[sqlx::test(migrations = "./migrations")]
async fn one_plan_is_found_by_its_id_and_an_unknown_one_is_404(db: PgPool) {
    let app = TestApp::start(db);
    let found = app.get("/api/v1/pricing/plans/growth").await.json();
    assert_eq!((&found["plan"]["id"], &found["currency"]), (&json!("growth"), &json!("SAR")));
    let answer = app.get("/api/v1/pricing/plans/gold").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "plan-not-found".into()));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_client_that_has_the_price_list_is_told_so(db: PgPool) {
    let app = TestApp::start(db);
    for path in ["/api/v1/pricing/plans", "/api/v1/pricing/plans/starter"] {
        let first = app.get(path).await;
        let etag = first.header("etag").to_owned();
        assert!(etag.starts_with('"') && !first.header("cache-control").is_empty());
        for current in [etag.clone(), format!("W/{etag}"), format!("\"old\", {etag}"), "*".into()] {
            let answer = ask(&app, path, &current).await;
            assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{current}");
            assert_eq!((answer.header("etag"), answer.body.len()), (etag.as_str(), 0));
        }
        assert_eq!(ask(&app, path, "\"old\"").await.status, StatusCode::OK);
    }
}
