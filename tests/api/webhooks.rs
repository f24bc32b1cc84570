//! The Moyasar webhook, CONTRACT section 4: its happy path and its refusals.

use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{WEBHOOK_SECRET, from};
use crate::shop::Shop;

/// A paid event with some fields changed.
pub fn event(changes: &Value) -> Value {
    let mut event = json!({
        "id": "66c164e7-c859-40d2-a844-c762939ae232", "type": "payment_paid",
        "created_at": "2026-01-02T03:04:05Z", "account_name": "Example Store", "live": false,
        "data": { "id": "b61e6ba5-3682-4dd6-b804-69b84b2d451c", "status": "paid", "amount": 11500 },
    });
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

#[sqlx::test(migrations = "./migrations")]
async fn a_new_event_is_durable_and_unique_before_it_is_answered(db: PgPool) {
    let shop = Shop::open(db).await;
    let answer = shop.deliver(&event(&json!({}))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({ "status": "ok", "event_id": "66c164e7-c859-40d2-a844-c762939ae232", "event_type": "payment_paid" })
    );
    assert_eq!(shop.count("webhook_events where status = 'received'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_same_event_again_is_a_duplicate(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.deliver(&event(&json!({}))).await;
    let id = "66c164e7-c859-40d2-a844-c762939ae232";
    let duplicate =
        json!({ "status": "duplicate", "id": id, "event_id": id, "event_type": "payment_paid" });
    assert_eq!(shop.deliver(&event(&json!({}))).await.json(), duplicate);
    assert_eq!(shop.count("reviews").await, 0);
    // The same id with another body: the same answer, and a person is asked.
    let changed = event(&json!({ "created_at": "2026-01-02T03:04:06Z" }));
    assert_eq!(shop.deliver(&changed).await.json(), duplicate);
    assert_eq!(shop.deliver(&changed).await.json(), duplicate);
    assert_eq!(
        shop.reviews().await,
        [("event_changed".into(), "the event came again with another body".into())]
    );
    assert_eq!(shop.count("webhook_events").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_hundred_deliveries_at_once_are_one_event(db: PgPool) {
    let shop = Shop::open(db).await;
    let event = event(&json!({}));
    let answers = futures_util::future::join_all((0..100).map(|_| shop.deliver(&event))).await;
    let count =
        |word: &str| answers.iter().filter(|answer| answer.json()["status"] == word).count();
    // A busy Postgres that does not tell in time leaves it to the queue, which knows the event as well.
    assert_eq!(count("ok") + count("duplicate") + count("dlq"), 100);
    assert!(count("ok") <= 1);
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_old_path_is_the_same_route(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut event = event(&json!({}));
    event["secret_token"] = json!(WEBHOOK_SECRET);
    let answer = shop.app.post("/api/v1/pricing/webhooks/moyasar", event.clone()).await;
    assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::OK, &json!("ok")));
    assert_eq!(
        shop.app.post("/api/v1/webhooks/moyasar", event).await.json()["status"],
        "duplicate"
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn a_type_that_moves_no_money_is_ignored_and_stored_all_the_same(db: PgPool) {
    let shop = Shop::open(db).await;
    for (n, kind) in [
        json!("webhook_verification"),
        json!("balance_transferred"),
        json!("of_tomorrow"),
        Value::Null,
        json!(7),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = shop.deliver(&event(&json!({ "id": n, "type": kind, "data": {} }))).await;
        assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::OK, &json!("ignored")));
        assert_eq!(answer.json()["event_type"], kind.as_str().unwrap_or_default());
    }
    assert_eq!(shop.count("webhook_events where status = 'ignored'").await, 5);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_token_that_is_wrong_missing_or_no_text_is_refused(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut tokens = vec![
        json!("wrong"),
        json!(""),
        Value::Null,
        json!(5),
        json!([WEBHOOK_SECRET]),
        json!("كلمة"),
        json!(format!("{WEBHOOK_SECRET} ")),
    ];
    tokens.push(json!(WEBHOOK_SECRET.to_uppercase()));
    for token in tokens {
        let answer = shop.deliver_raw(event(&json!({ "secret_token": token })).to_string()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNAUTHORIZED, "bad-signature".into()),
            "{token}"
        );
        assert_eq!(answer.json()["detail"], "bad_signature");
    }
    let answer = shop.deliver_raw(event(&json!({})).to_string()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(shop.count("webhook_events").await, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn refused_deliveries_are_kept_without_their_token_and_never_many(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let guess = "a-guess-that-must-not-survive";
    let forged = event(&json!({ "secret_token": guess, "note": "a".repeat(10_000) }));
    for client in 0..40 {
        let request = Request::post("/api/v1/webhooks/moyasar").body(forged.to_string().into());
        let answer = shop.app.send(from(&format!("203.0.113.{client}"), request.unwrap())).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(shop.count("quarantined_webhooks").await, 0, "no request waits for it");
    shop.app.app.run_jobs_until_idle().await.unwrap();
    // More than wait to be written are only counted.
    assert_eq!(shop.count("quarantined_webhooks").await, 32);
    assert_eq!(shop.count("refused_webhooks where refused = 40").await, 1);
    let kept = "quarantined_webhooks where octet_length(body) = 4096 and body_length > 10000";
    assert_eq!(shop.count(kept).await, 32);
    let bodies: Vec<Vec<u8>> =
        sqlx::query_scalar("select body from quarantined_webhooks").fetch_all(&db).await.unwrap();
    for body in bodies {
        assert!(!String::from_utf8(body).unwrap().contains(guess));
    }
    // Old ones go, and so do all but the newest thousand.
    let fill = "insert into quarantined_webhooks select gen_random_uuid(), 'moyasar', '', 0, 'r', \
        timestamptz '2026-01-02T03:00:00Z' - n * interval '1 min', n from generate_series(1, 2000) n";
    sqlx::query(fill).execute(&db).await.unwrap();
    shop.deliver_raw(forged.to_string()).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("quarantined_webhooks").await, 1_000);
    shop.advance(std::time::Duration::from_secs(31 * 24 * 60 * 60));
    shop.deliver_raw(forged.to_string()).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("quarantined_webhooks").await, 1);
    assert_eq!(shop.count("refused_webhooks").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn one_sender_takes_little_of_the_quarantine_however_much_he_sends(db: PgPool) {
    let shop = Shop::open(db).await;
    let forged = event(&json!({ "secret_token": "a-guess" })).to_string();
    for minute in 1..=5 {
        for _ in 0..30 {
            assert_eq!(shop.deliver_raw(forged.clone()).await.status, StatusCode::UNAUTHORIZED);
        }
        shop.app.app.run_jobs_until_idle().await.unwrap();
        // Six of each minute, and never more than twenty.
        assert_eq!(shop.count("quarantined_webhooks").await, (6 * minute).min(20));
        shop.advance(std::time::Duration::from_mins(1));
    }
    // None is uncounted.
    assert_eq!(shop.count("refused_webhooks where refused = 150").await, 1);
    let request = Request::post("/api/v1/webhooks/moyasar").body(forged.into()).unwrap();
    shop.app.send(from("203.0.113.7", request)).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("quarantined_webhooks").await, 21);
}

#[sqlx::test(migrations = "./migrations")]
async fn without_a_configured_secret_every_webhook_is_refused(db: PgPool) {
    let shop = Shop::open_with(
        db,
        &[("MOYASAR_WEBHOOK_SECRET", "another-secret-for-tests-0123456789abcdef")],
    )
    .await;
    assert_eq!(shop.deliver(&event(&json!({}))).await.status, StatusCode::UNAUTHORIZED);
}

#[sqlx::test(migrations = "./migrations")]
async fn both_secrets_are_right_during_a_rotation(db: PgPool) {
    let shop = Shop::open_with(
        db,
        &[
            ("MOYASAR_WEBHOOK_SECRET", "older-secret-for-tests-0123456789abcdef"),
            ("MOYASAR_WEBHOOK_SECRET_NEXT", WEBHOOK_SECRET),
        ],
    )
    .await;
    assert_eq!(shop.deliver(&event(&json!({}))).await.status, StatusCode::OK);
    let older =
        event(&json!({ "id": "2", "secret_token": "older-secret-for-tests-0123456789abcdef" }));
    assert_eq!(shop.deliver_raw(older.to_string()).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_body_that_is_no_json_object_is_400(db: PgPool) {
    let shop = Shop::open(db).await;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(64), "]".repeat(64));
    let latin = vec![b'{', b'"', 0xe9, b'"', b':', b'1', b'}'];
    for body in [
        b"".to_vec(),
        b"[]".to_vec(),
        b"\"x\"".to_vec(),
        b"null".to_vec(),
        b"1".to_vec(),
        b"{".to_vec(),
        b"{}x".to_vec(),
        deep.into_bytes(),
        latin,
    ] {
        let answer = shop.deliver_raw(body.clone()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, "invalid-json".into()),
            "{}",
            String::from_utf8_lossy(&body)
        );
        assert_eq!(answer.json()["detail"], "invalid_json");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_body_that_is_too_large_is_413(db: PgPool) {
    let shop = Shop::open(db).await;
    let large = event(&json!({ "account_name": "a".repeat(256 * 1024) }));
    assert_eq!(shop.deliver(&large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_key_of_an_event_is_its_id_or_what_stands_for_it(db: PgPool) {
    let shop = Shop::open(db).await;
    for (id, key) in [
        (json!("abc"), "abc".to_owned()),
        (json!(123), "123".into()),
        (json!("x".repeat(128)), "x".repeat(128)),
    ] {
        assert_eq!(shop.deliver(&event(&json!({ "id": id }))).await.json()["event_id"], key);
    }
    for id in [Value::Null, json!(""), json!("x".repeat(129)), json!({}), json!(true)] {
        let event = event(&json!({ "id": id }));
        let first = shop.deliver(&event).await.json();
        let key = first["event_id"].as_str().unwrap();
        assert!(key.starts_with("sha256:") && key.len() == 71, "{key}");
        assert_eq!(first["status"], "ok");
        assert_eq!(shop.deliver(&event).await.json()["status"], "duplicate");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_cannot_be_ours_has_no_effect_and_is_for_a_person(db: PgPool) {
    let shop = Shop::open(db).await;
    for (n, changes) in [
        json!({ "live": true }),
        json!({ "live": "yes" }),
        json!({ "data": [] }),
        json!({ "data": "x" }),
        json!({ "data": { "id": 5 } }),
    ]
    .iter()
    .enumerate()
    {
        let mut event = event(changes);
        event["id"] = json!(format!("odd-{n}"));
        let answer = shop.deliver(&event).await;
        assert_eq!(
            (answer.status, &answer.json()["status"]),
            (StatusCode::OK, &json!("ok")),
            "{changes}"
        );
    }
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 0);
    assert_eq!(shop.count("reviews where kind = 'mode_mismatch'").await, 2);
    assert_eq!(shop.count("reviews where kind = 'malformed_event'").await, 3);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_secret_is_never_stored_and_every_other_byte_is(db: PgPool) {
    let shop = Shop::open(db).await;
    let body = format!(
        "{{ \"id\" : \"e1\",\"note\":\"سلام\", \"n\": 1.50, \"secret_token\":\"{WEBHOOK_SECRET}\" }}"
    );
    assert_eq!(shop.deliver_raw(body.clone()).await.status, StatusCode::OK);
    let stored: Vec<u8> = sqlx::query_scalar("select body from webhook_events")
        .fetch_one(&shop.app.db)
        .await
        .unwrap();
    let stored = String::from_utf8(stored).unwrap();
    assert_eq!(stored, body.replace(WEBHOOK_SECRET, "[redacted]"));
}

#[sqlx::test(migrations = "./migrations")]
async fn the_content_type_is_not_enforced(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut event = event(&json!({}));
    event["secret_token"] = json!(WEBHOOK_SECRET);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "nonsense"] {
        let request = Request::post("/api/v1/webhooks/moyasar").header("content-type", kind);
        let answer = shop.app.send(request.body(event.to_string().into()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{kind}");
    }
}
