//! What needs a person, CONTRACT section 11: listing and resolving reviews; and the end of
//! subscriptions, section 3.

use std::time::Duration;

use axum::http::StatusCode;
use dealix_sandbox::{Fault, Twist, cards};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{ADMIN_KEY, READER_KEY, SERVICE_KEY, TestApp};
use crate::shop::Shop;

const DAY: u64 = 24 * 60 * 60;
const REVIEWS: &str = "/api/v1/admin/reviews";

/// A shop in which one payment is held for a person.
async fn shop_with_a_review(db: PgPool) -> (Shop, Value) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.sandbox.fault(Fault::payment(Twist::Charge { amount: Some(100), currency: None }).once());
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    let listed = shop.app.get_as(READER_KEY, REVIEWS).await.json();
    let review = listed["reviews"][0].clone();
    assert_eq!(
        (&listed["next_cursor"], &review["checkout_id"]),
        (&Value::Null, &json!(bought.checkout_id))
    );
    (shop, review)
}

#[sqlx::test(migrations = "./migrations")]
async fn a_review_is_listed_with_its_difference_and_resolved_once_with_an_audit_row(db: PgPool) {
    let (shop, review) = shop_with_a_review(db).await;
    assert_eq!(
        (&review["kind"], &review["difference"], &review["state"]),
        (&json!("amount_mismatch"), &json!("billed 990 SAR, charged 1 SAR"), &json!("open"))
    );
    assert_eq!(review["opened_at"], "2026-01-02T03:04:05Z");
    let path = format!("{REVIEWS}/{}/resolve", review["id"].as_str().unwrap());
    let body = json!({ "resolution": " refunded ", "reason": "charged by hand" });
    let answer = shop.app.post_as(ADMIN_KEY, &path, body.clone()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let resolved = answer.json();
    assert_eq!(
        (&resolved["state"], &resolved["resolution"], &resolved["reason"]),
        (&json!("resolved"), &json!("refunded"), &json!("charged by hand"))
    );
    let row: (String, String, Value, Value, String) = sqlx::query_as(
        "select actor, reason, before, after, request_id from audit_log where subject = $1",
    )
    .bind(review["id"].as_str().unwrap())
    .fetch_one(&shop.app.db)
    .await
    .unwrap();
    assert_eq!(json!(row.0), resolved["resolved_by"]);
    assert_eq!(row.1, "charged by hand");
    assert_eq!((&row.2["state"], &row.3["state"]), (&json!("open"), &json!("resolved")));
    assert_eq!(row.4, answer.header("x-request-id"));
    // A second word does not take the place of the first.
    let again = shop.app.post_as(ADMIN_KEY, &path, body).await;
    assert_eq!((again.status, again.code()), (StatusCode::CONFLICT, "review-resolved".into()));
    assert_eq!(shop.count("audit_log where action = 'review.resolved'").await, 1);
    let open = shop.app.get_as(ADMIN_KEY, &format!("{REVIEWS}?state=open")).await.json();
    assert_eq!(open["reviews"], json!([]));
    let done = shop.app.get_as(READER_KEY, &format!("{REVIEWS}?state=resolved")).await.json();
    assert_eq!(done["reviews"], json!([resolved]));
}

#[sqlx::test(migrations = "./migrations")]
async fn resolving_needs_both_fields_a_review_and_more_than_a_read_only_key(db: PgPool) {
    let (shop, review) = shop_with_a_review(db).await;
    let path = format!("{REVIEWS}/{}/resolve", review["id"].as_str().unwrap());
    let body = json!({ "resolution": "refunded", "reason": "charged by hand" });
    for key in [READER_KEY, SERVICE_KEY] {
        let answer = shop.app.post_as(key, &path, body.clone()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(shop.app.get_as(SERVICE_KEY, REVIEWS).await.status, StatusCode::FORBIDDEN);
    assert_eq!(shop.app.get(REVIEWS).await.status, StatusCode::UNAUTHORIZED);
    let answer = shop.app.post_as(ADMIN_KEY, &path, json!({ "reason": " " })).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let errors = answer.json()["errors"].clone();
    let pointers: Vec<_> = errors.as_array().unwrap().iter().map(|it| &it["pointer"]).collect();
    assert_eq!(pointers, ["/resolution", "/reason"]);
    for nobody in ["019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f", "nobody"] {
        let path = format!("{REVIEWS}/{nobody}/resolve");
        let answer = shop.app.post_as(ADMIN_KEY, &path, body.clone()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::NOT_FOUND, "review-not-found".into())
        );
    }
    assert_eq!(shop.count("reviews where state = 'open'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn reviews_come_in_pages_oldest_first_and_each_once(db: PgPool) {
    let app = TestApp::start(db);
    sqlx::query(
        "insert into reviews (id, kind, difference, opened_at)
         select lpad(n::text, 32, '0')::uuid, 'body_mismatch', n::text, now()
         from generate_series(1, 101) n",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let (mut path, mut seen, mut pages) = (REVIEWS.to_owned(), Vec::<i32>::new(), Vec::new());
    loop {
        let page = app.get_as(READER_KEY, &path).await.json();
        let reviews = page["reviews"].as_array().unwrap().clone();
        pages.push(reviews.len());
        let number = |it: &Value| it["difference"].as_str().unwrap().parse::<i32>().unwrap();
        seen.extend(reviews.iter().map(number));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("{REVIEWS}?cursor={cursor}");
    }
    assert_eq!(pages, [50, 50, 1]);
    assert_eq!(seen, (1..=101).collect::<Vec<_>>());
    for wrong in ["state=closed", "cursor=7"] {
        let answer = app.get_as(READER_KEY, &format!("{REVIEWS}?{wrong}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn past_its_end_a_subscription_is_past_due_for_three_days_and_then_expired(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    let seconds = Duration::from_secs;
    for (wait, status, audited) in [
        (seconds(31 * DAY - 1), "active", 0),
        (seconds(1), "past_due", 1),
        (seconds(3 * DAY - 1), "past_due", 1),
        (seconds(1), "expired", 2),
        (seconds(90 * DAY), "expired", 2),
    ] {
        shop.advance(wait);
        shop.app.app.run_jobs_until_idle().await.unwrap();
        let written: String = sqlx::query_scalar("select status from subscriptions")
            .fetch_one(&shop.app.db)
            .await
            .unwrap();
        assert_eq!(written, status);
        assert_eq!(shop.count("audit_log where action = 'subscription.lapsed'").await, audited);
    }
    // A payment saves it again.
    let again = shop.buy().await;
    shop.pay(&again, cards::MADA_APPROVED).await;
    shop.settle().await;
    assert_eq!(shop.look(&again).await["subscription"]["status"], "active");
    assert_eq!(shop.count("subscriptions where status = 'active'").await, 1);
}
