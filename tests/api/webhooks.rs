//! The Moyasar webhook, CONTRACT section 4: its happy path and its refusals.

use std::time::Duration;

use axum::http::StatusCode;
use dealix_sandbox::{Card, Fault, Operation, Trouble, cards};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::WEBHOOK_SECRET;
use crate::shop::Shop;

fn event(changes: &Value) -> Value {
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
    assert_eq!((count("ok"), count("duplicate")), (1, 99));
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
async fn a_store_that_does_not_confirm_is_503_and_the_provider_sends_again(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.app.db.close().await;
    let answer = shop.deliver(&event(&json!({}))).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable".into())
    );
    assert!(!answer.header("retry-after").is_empty());
}

#[sqlx::test(migrations = "./migrations")]
async fn a_store_that_refuses_the_event_is_503_too(db: PgPool) {
    let shop = Shop::open(db).await;
    let refuse = "alter table webhook_events rename to gone";
    sqlx::query(refuse).execute(&shop.app.db).await.unwrap();
    let answer = shop.deliver(&event(&json!({}))).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable".into())
    );
    assert!(!answer.header("retry-after").is_empty());
}

#[sqlx::test(migrations = "./migrations")]
async fn only_what_the_provider_answers_is_believed(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_EXPIRED).await;
    drop(shop.sandbox.take_held_webhooks());
    let forged = event(&json!({
        "data": { "id": payment.id, "status": "paid", "amount": 99_000, "currency": "SAR", "invoice_id": bought.invoice_id },
    }));
    shop.deliver(&forged).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    let shown = shop.look(&bought).await;
    assert_eq!(
        (&shown["status"], &shown["last_attempt"]["status"]),
        (&json!("pending"), &json!("failed"))
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn a_body_that_disagrees_is_applied_as_fetched_and_flagged(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let mut held = shop.sandbox.take_held_webhooks();
    let mut envelope = held.pop().unwrap();
    envelope["data"]["amount"] = json!(100);
    envelope["data"]["currency"] = json!("USD");
    shop.deliver(&envelope).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(
        shop.reviews().await,
        [("body_mismatch".into(), "the event's amount, currency is not the provider's".into())]
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn a_paid_event_writes_payment_subscription_outbox_and_audit_once(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    // Other ids, the same fact: each effect happens once per payment.
    for id in ["first", "second", "third"] {
        let mut again = envelope.clone();
        again["id"] = json!(id);
        shop.deliver(&again).await;
    }
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where status = 'done'").await, 3);
    assert_eq!(shop.count("payments where standing = 'granted'").await, 1);
    assert_eq!(shop.count("payment_effects where effect = 'granted'").await, 1);
    assert_eq!(
        shop.count("subscriptions where current_period_end = '2026-02-02T03:04:05Z'").await,
        1
    );
    assert_eq!(shop.count("outbox where name = 'payment_succeeded'").await, 1);
    assert_eq!(shop.count("audit_log where action = 'payment.settled'").await, 1);
    assert_eq!(shop.analytics(), ["payment_initiated", "payment_succeeded"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn two_instances_settle_an_event_once(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    let moyasar = shop.sandbox.moyasar_url();
    let other = crate::harness::TestApp::start_with(
        db,
        &[
            ("MOYASAR_BASE_URL", moyasar.as_str()),
            ("MOYASAR_SECRET_KEY", shop.sandbox.secret_key()),
        ],
    );
    let (one, two) = futures_util::future::join(
        Box::pin(shop.app.app.run_jobs_until_idle()),
        Box::pin(other.app.run_jobs_until_idle()),
    )
    .await;
    one.and(two).unwrap();
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 1);
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_outage_of_the_provider_is_no_attempt_and_the_event_waits(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)));
    shop.settle().await;
    for _ in 0..50 {
        shop.advance(Duration::from_secs(120));
        shop.settle().await;
    }
    assert_eq!(shop.count("webhook_events where status = 'received' and attempts = 0").await, 1);
    shop.sandbox.clear_faults();
    shop.advance(Duration::from_secs(400));
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn during_an_outage_of_the_provider_the_rest_of_the_backlog_is_left_alone(db: PgPool) {
    let shop = Shop::open(db).await;
    for n in 0..20 {
        shop.deliver(&event(&json!({ "id": n }))).await;
    }
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)));
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("webhook_events where status = 'received'").await, 20);
    // One event met the outage; nobody even claimed the others.
    assert_eq!(shop.count("webhook_events where last_error is null").await, 19);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_key_that_the_provider_does_not_take_is_no_attempt(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    for status in [401, 403, 401, 403, 401, 403] {
        shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(status)));
        shop.settle().await;
        shop.sandbox.clear_faults();
        shop.advance(Duration::from_secs(10));
    }
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 6);
    assert_eq!(shop.count("webhook_events where status = 'received' and attempts = 0").await, 1);
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_cannot_be_settled_is_given_up_after_five_attempts(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    shop.settle().await;
    for attempts in 1..5 {
        assert_eq!(shop.count("webhook_events where status = 'received'").await, 1, "{attempts}");
        shop.advance(Duration::from_secs(145));
        shop.settle().await;
    }
    assert_eq!(shop.count("webhook_events where status = 'failed' and attempts = 5").await, 1);
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), 5);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_whose_worker_died_is_taken_up_again_when_its_lease_ends(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.deliver_webhooks().await;
    // A worker claimed it and never came back.
    sqlx::query("update webhook_events set lease_token = gen_random_uuid(), lease_until = '2026-01-02T03:05:05Z'")
        .execute(&shop.app.db)
        .await
        .unwrap();
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "pending");
    shop.advance(Duration::from_secs(61));
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_payment_of_nobody_is_for_a_person(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, Card::new("4111111111111111")).await;
    sqlx::query("delete from invoices").execute(&shop.app.db).await.unwrap();
    shop.settle().await;
    let difference = format!("no checkout of ours has invoice {}", bought.invoice_id);
    assert_eq!(shop.reviews().await, [("unknown_invoice".into(), difference)]);
    assert_eq!(shop.look(&bought).await["status"], "pending");
    // A second event of it asks nobody again.
    shop.deliver(&event(&json!({ "data": { "id": payment.id } }))).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.count("reviews").await, 1);
    // One that the provider does not know either.
    let unknown = event(&json!({ "id": "of-nobody" }));
    shop.deliver(&unknown).await;
    for attempt in 0..5 {
        assert_eq!(shop.count("reviews where kind = 'unknown_payment'").await, 0, "{attempt}");
        shop.app.app.run_jobs_until_idle().await.unwrap();
        shop.advance(Duration::from_secs(145));
    }
    assert_eq!(shop.count("reviews where kind = 'unknown_payment'").await, 1);
    assert_eq!(shop.count("webhook_events where status = 'failed'").await, 1);
    assert_eq!(shop.count("payments").await, 1);
    assert_eq!(payment.amount, 99_000);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_checkout_that_turns_up_later_still_gets_its_payment(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    let row: (String, uuid::Uuid) =
        sqlx::query_as("delete from invoices returning payment_url, checkout_id")
            .fetch_one(&shop.app.db)
            .await
            .unwrap();
    shop.deliver(&envelope).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "pending");
    sqlx::query("insert into invoices (id, checkout_id, payment_url, created_at) values ($1, $2, $3, now())")
        .bind(&bought.invoice_id)
        .bind(row.1)
        .bind(row.0)
        .execute(&shop.app.db)
        .await
        .unwrap();
    let mut again = envelope;
    again["id"] = json!("again");
    shop.deliver(&again).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    assert_eq!(shop.look(&bought).await["status"], "paid");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_frozen_store_is_503_within_two_seconds(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut lock = shop.app.db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    let began = tokio::time::Instant::now();
    let answer = shop.deliver(&event(&json!({}))).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable".into())
    );
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    lock.rollback().await.unwrap();
    assert_eq!(shop.deliver(&event(&json!({}))).await.status, StatusCode::OK);
}

#[sqlx::test(migrations = "./migrations")]
async fn the_content_type_is_not_enforced(db: PgPool) {
    let shop = Shop::open(db).await;
    let mut event = event(&json!({}));
    event["secret_token"] = json!(WEBHOOK_SECRET);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "nonsense"] {
        let request =
            axum::http::Request::post("/api/v1/webhooks/moyasar").header("content-type", kind);
        let answer = shop.app.send(request.body(event.to_string().into()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{kind}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn the_request_id_stands_in_the_event_the_outbox_and_the_audit_row(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let mut envelope = shop.sandbox.take_held_webhooks().pop().unwrap();
    envelope["secret_token"] = json!(WEBHOOK_SECRET);
    let request = axum::http::Request::post("/api/v1/webhooks/moyasar")
        .header("x-request-id", "trace-me-7")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    shop.app.send(request.body(envelope.to_string().into()).unwrap()).await;
    shop.app.app.run_jobs_until_idle().await.unwrap();
    let trace = "request_id = 'trace-me-7' and trace_id = '4bf92f3577b34da6a3ce929d0e0e4736'";
    let events = sqlx::AssertSqlSafe(format!("select count(*) from webhook_events where {trace}"));
    let count: i64 = sqlx::query_scalar(events).fetch_one(&shop.app.db).await.unwrap();
    assert_eq!(count, 1);
    assert_eq!(
        shop.count("outbox where name = 'payment_succeeded' and request_id = 'trace-me-7'").await,
        1
    );
    assert_eq!(shop.count("audit_log where request_id = 'trace-me-7'").await, 1);
}
