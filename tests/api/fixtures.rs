//! Every real-shaped webhook of the papers, through the real route: what is answered, what becomes of it,
//! and what a person is asked. A file without a row fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use axum::Router;
use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{TestApp, WEBHOOK_SECRET};

const FOLDER: &str = "tests/fixtures/moyasar";

/// What must become of one file.
#[derive(Clone, Copy)]
struct Row {
    file: &'static str,
    /// What the provider shows when it is asked: the file of that name, which need not be the same.
    truth: &'static str,
    /// What the checkout was billed; the invoice is the payment's, if it has one.
    billed: i64,
    /// The word of the answer.
    answered: &'static str,
    /// The event's status and outcome in the end.
    event: (&'static str, &'static str),
    /// The checkout's status in the end.
    checkout: &'static str,
    /// What a person is asked.
    review: Option<(&'static str, &'static str)>,
    /// Whether it is also delivered as a payment of our invoice, where the papers name none.
    is_on_ours: bool,
}

/// A file that is as the provider shows it, of a checkout of 115 SAR that nobody asks about.
const fn row(file: &'static str, outcome: &'static str, checkout: &'static str) -> Row {
    let event = ("done", outcome);
    let (truth, billed, answered) = (file, 11_500, "ok");
    Row { file, truth, billed, answered, event, checkout, review: None, is_on_ours: true }
}

const fn ignored(file: &'static str) -> Row {
    Row { answered: "ignored", event: ("ignored", ""), ..row(file, "", "pending") }
}

fn table() -> Vec<Row> {
    vec![
        row("payment_paid", "granted", "paid"),
        row("payment_paid_stcpay", "granted", "paid"),
        Row { billed: 25_000, ..row("payment_paid_applepay", "granted", "paid") },
        Row {
            event: ("ignored", "mode_mismatch"),
            review: Some(("mode_mismatch", "a live event reached a test account")),
            ..row("payment_paid_live", "", "pending")
        },
        Row {
            review: Some(("unknown_invoice", "the payment was made without an invoice")),
            is_on_ours: false,
            ..row("payment_paid_no_invoice", "review", "pending")
        },
        Row {
            review: Some(("amount_mismatch", "billed 115 SAR, charged 97.75 SAR, with coupon ")),
            ..row("payment_paid_coupon", "review", "review")
        },
        // Applied as the provider shows it; the difference of the body is flagged.
        Row {
            truth: "payment_paid",
            review: Some(("body_mismatch", "the event's amount is not the provider's")),
            ..row("payment_paid_amount_mismatch", "granted", "paid")
        },
        row("payment_failed", "attempt_ended", "pending"),
        row("payment_faild_docs_spelling", "attempt_ended", "pending"),
        row("payment_failed_3ds", "attempt_ended", "pending"),
        row("payment_expired_sadad", "attempt_ended", "pending"),
        row("payment_abandoned", "recorded", "pending"),
        Row { billed: 50_000, ..row("payment_authorized", "recorded", "pending") },
        Row { billed: 50_000, ..row("payment_captured", "granted", "paid") },
        Row {
            billed: 50_000,
            review: Some(("amount_mismatch", "billed 500 SAR, charged ")),
            ..row("payment_captured_partial", "review", "review")
        },
        Row {
            billed: 50_000,
            review: Some(("voided_unseen", "voided before it was seen paid")),
            ..row("payment_voided", "review", "pending")
        },
        row("payment_refunded", "reversed", "refunded"),
        Row {
            review: Some(("partial_refund", "40 of 115 SAR were given back")),
            ..row("payment_refunded_partial", "review", "paid")
        },
        ignored("payment_verified"),
        ignored("webhook_verification"),
        ignored("balance_transferred"),
    ]
}

fn fixture(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(format!("{FOLDER}/{name}.json")).unwrap()).unwrap()
}

/// A provider that knows the payments of the papers by their ids, and no invoice.
async fn provider(truth: &BTreeMap<String, Value>) -> String {
    let truth = truth.clone();
    let answer = async move |uri: Uri| match truth.get(uri.path()) {
        Some(payment) => (StatusCode::OK, payment.to_string()),
        None => (StatusCode::NOT_FOUND, "{}".to_owned()),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    url
}

/// A checkout that was billed so much on that invoice.
async fn open_checkout(db: &PgPool, billed: i64, invoice: &str) {
    sqlx::query(
        "with checkout as (
             insert into checkouts (id, channel, plan_id, amount_halalas, currency, subscriber,
                 customer_email, locale, distinct_id, callback_token, status, request_id,
                 created_at, updated_at, expires_at)
             values (gen_random_uuid(), 'pricing', 'starter', $1, 'SAR', 'email:a@example.com',
                 'a@example.com', 'en', 'somebody', 'a-token', 'pending', 'a-request',
                 '2026-01-02T03:00:00Z', '2026-01-02T03:00:00Z', '2026-01-03T03:00:00Z')
             returning id
         )
         insert into invoices (id, checkout_id, payment_url, created_at)
         select $2, id, 'https://example.com/pay', '2026-01-02T03:00:00Z' from checkout",
    )
    .bind(billed)
    .bind(invoice)
    .execute(db)
    .await
    .unwrap();
}

#[sqlx::test(migrations = "./migrations")]
async fn every_webhook_of_the_papers_comes_to_what_the_table_says(db: PgPool) {
    for row in table() {
        let data = &fixture(row.file)["data"];
        let is_on_none = row.answered == "ok" && data["invoice_id"].is_null();
        if is_on_none {
            // As it stands in the papers, made without an invoice: nobody's of ours.
            let question = Some(("unknown_invoice", "the payment was made without an invoice"));
            let event = ("done", "review");
            check(&db, &Row { event, checkout: "pending", review: question, ..row }, None).await;
        }
        check(&db, &row, (is_on_none && row.is_on_ours).then_some("an-invoice-of-ours")).await;
    }
}

/// Delivers the file of a row, made on that invoice if one is named.
async fn check(db: &PgPool, row: &Row, made_on: Option<&str>) {
    sqlx::query(
        "truncate webhook_events, reviews, payment_effects, payments, invoices, checkouts,
             subscriptions, outbox, audit_log cascade",
    )
    .execute(db)
    .await
    .unwrap();
    let (mut envelope, mut shown) = (fixture(row.file), fixture(row.truth)["data"].clone());
    if let Some(invoice) = made_on {
        envelope["data"]["invoice_id"] = json!(invoice);
        shown["invoice_id"] = json!(invoice);
    }
    let path = format!("/v1/payments/{}", shown["id"].as_str().unwrap_or_default());
    let invoice = shown["invoice_id"].as_str().unwrap_or("another-invoice").to_owned();
    open_checkout(db, row.billed, &invoice).await;
    let url = provider(&BTreeMap::from([(path, shown)])).await;
    let variables =
        [("MOYASAR_BASE_URL", url.as_str()), ("MOYASAR_SECRET_KEY", "sk_test_of-the-papers")];
    let app = TestApp::start_with(db.clone(), &variables);
    envelope["secret_token"] = json!(WEBHOOK_SECRET);
    let answer = app.post("/api/v1/webhooks/moyasar", envelope).await;
    assert_eq!((answer.status, &answer.json()["status"]), (StatusCode::OK, &json!(row.answered)));
    app.app.run_jobs_until_idle().await.unwrap();

    let event: (String, String) =
        sqlx::query_as("select status, coalesce(outcome, '') from webhook_events")
            .fetch_one(db)
            .await
            .unwrap();
    assert_eq!((event.0.as_str(), event.1.as_str()), row.event, "{}", row.file);
    let checkout: String =
        sqlx::query_scalar("select status from checkouts").fetch_one(db).await.unwrap();
    assert_eq!(checkout, row.checkout, "{}", row.file);
    let reviews: Vec<(String, String)> =
        sqlx::query_as("select kind, difference from reviews").fetch_all(db).await.unwrap();
    let expected: Vec<&str> = row.review.iter().map(|(kind, _)| *kind).collect();
    let kinds: Vec<&str> = reviews.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, expected, "{}", row.file);
    if let (Some((_, start)), Some((_, difference))) = (row.review, reviews.first()) {
        assert!(difference.starts_with(start), "{}: {difference}", row.file);
    }
}

#[test]
fn no_webhook_of_the_papers_is_without_a_row() {
    let files: BTreeSet<String> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let rows: BTreeSet<String> = table().iter().map(|row| row.file.to_owned()).collect();
    assert_eq!(files, rows);
}
