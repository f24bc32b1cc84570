//! What payments bring about, CONTRACT section 3: attempts, refunds, voids, doubts, subscriptions.

use std::time::Duration;

use dealix_sandbox::{Fault, Twist, cards};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::shop::{Shop, order_with};

const CHECKOUT: &str = "/api/v1/pricing/checkout";

#[sqlx::test(migrations = "./migrations")]
async fn a_declined_attempt_is_shown_and_a_second_one_can_succeed(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_INSUFFICIENT_FUNDS).await;
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!(shown["status"], "pending");
    assert_eq!(shown["last_attempt"]["status"], "failed");
    assert!(shown["last_attempt"]["message"].as_str().unwrap().contains("FUNDS"), "{shown}");

    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "paid");
    assert_eq!(shop.analytics(), ["payment_initiated", "payment_failed", "payment_succeeded"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_refund_in_part_stays_paid_and_in_full_cancels(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    shop.advance(Duration::from_secs(60));
    shop.sandbox.refund(&payment.id, Some(40_000)).unwrap();
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!((&shown["status"], &shown["refunded_halalas"]), (&json!("paid"), &json!(40_000)));
    assert_eq!(shown["subscription"]["status"], "active");
    assert_eq!(
        shop.reviews().await,
        [("partial_refund".into(), "400 of 990 SAR were given back".into())]
    );

    shop.advance(Duration::from_secs(60));
    shop.sandbox.refund(&payment.id, Some(59_000)).unwrap();
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!(
        (&shown["status"], &shown["refunded_halalas"]),
        (&json!("refunded"), &json!(99_000))
    );
    assert_eq!(shown["subscription"]["status"], "canceled");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_refund_finds_its_checkout_also_when_its_invoice_does_not(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    sqlx::query("delete from invoices").execute(&shop.app.db).await.unwrap();
    shop.sandbox.refund(&payment.id, None).unwrap();
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!(
        (&shown["status"], &shown["subscription"]["status"]),
        (&json!("refunded"), &json!("canceled"))
    );
    assert_eq!(shop.reviews().await, []);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_void_is_shown_as_refunded(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    shop.advance(Duration::from_secs(60));
    shop.sandbox.void(&payment.id).unwrap();
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!(
        (&shown["status"], &shown["refunded_halalas"]),
        (&json!("refunded"), &json!(99_000))
    );
    assert_eq!(shown["subscription"]["status"], "canceled");
}

#[sqlx::test(migrations = "./migrations")]
async fn another_amount_than_was_billed_is_for_a_person(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.sandbox.fault(Fault::payment(Twist::Charge { amount: Some(100), currency: None }).once());
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!((&shown["status"], &shown["subscription"]), (&json!("review"), &Value::Null));
    assert_eq!(
        shop.reviews().await,
        [("amount_mismatch".into(), "billed 990 SAR, charged 1 SAR".into())]
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn paid_again_extends_and_another_plan_is_for_a_person(db: PgPool) {
    let shop = Shop::open(db).await;
    for end in ["2026-02-02T03:04:05Z", "2026-03-02T03:04:05Z"] {
        let bought = shop.buy().await;
        shop.pay(&bought, cards::MADA_APPROVED).await;
        shop.settle().await;
        assert_eq!(shop.look(&bought).await["subscription"]["current_period_end"], end);
    }
    let growth = shop.app.post(CHECKOUT, order_with(&json!({ "plan_id": "growth" }))).await.json();
    shop.sandbox.pay(growth["invoice_id"].as_str().unwrap(), cards::MADA_APPROVED).await.unwrap();
    shop.settle().await;
    let shown =
        shop.app.get(&format!("{CHECKOUT}/{}", growth["checkout_id"].as_str().unwrap())).await;
    assert_eq!(shown.json()["status"], "review");
    assert_eq!(
        shop.reviews().await,
        [("plan_change".into(), "a subscription to `starter` runs, `growth` was paid for".into())]
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn the_subscription_is_the_tenants_else_the_lower_cased_address(db: PgPool) {
    let shop = Shop::open(db).await;
    for (changes, subscriber) in [
        (json!({ "tenant_id": "tenant-42" }), "tenant:tenant-42"),
        (json!({ "customer_email": "BUYER@example.COM" }), "email:buyer@example.com"),
    ] {
        let started = shop.app.post(CHECKOUT, order_with(&changes)).await.json();
        shop.sandbox
            .pay(started["invoice_id"].as_str().unwrap(), cards::VISA_APPROVED)
            .await
            .unwrap();
        shop.settle().await;
        let status: String =
            sqlx::query_scalar("select status from subscriptions where subscriber = $1")
                .bind(subscriber)
                .fetch_one(&shop.app.db)
                .await
                .unwrap();
        assert_eq!(status, "active");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn an_invoice_that_ended_unpaid_ends_the_checkout_and_late_money_is_for_a_person(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.sandbox.expire(&bought.invoice_id).unwrap();
    shop.advance(Duration::from_secs(11));
    shop.look(&bought).await;
    shop.run_jobs().await;
    assert_eq!(shop.look(&bought).await["status"], "expired");

    shop.sandbox.fault(Fault::payment(Twist::Late).once());
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!((&shown["status"], &shown["subscription"]), (&json!("review"), &Value::Null));
    assert_eq!(
        shop.reviews().await,
        [("late_payment".into(), "the checkout was already closed".into())]
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn money_that_comes_after_the_time_is_over_is_for_a_person(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    // Nobody looked meanwhile: the checkout still says that it can be paid.
    shop.advance(Duration::from_hours(25));
    shop.sandbox.fault(Fault::payment(Twist::Late).once());
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "review");
    assert_eq!(shop.count("reviews where kind = 'late_payment'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_tenant_named_like_an_address_is_not_its_owner(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    let thief = order_with(&json!({ "tenant_id": "buyer@example.com" }));
    let started = shop.app.post(CHECKOUT, thief).await.json();
    shop.sandbox.pay(started["invoice_id"].as_str().unwrap(), cards::MADA_APPROVED).await.unwrap();
    shop.settle().await;
    assert_eq!(shop.count("subscriptions where status = 'active'").await, 2);
}

#[sqlx::test(migrations = "./migrations")]
async fn money_that_is_held_and_given_back_leaves_the_checkout_refunded(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.sandbox.fault(Fault::payment(Twist::Charge { amount: Some(500), currency: None }).once());
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "review");
    shop.advance(Duration::from_secs(60));
    shop.sandbox.refund(&payment.id, Some(200)).unwrap();
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!((&shown["status"], &shown["refunded_halalas"]), (&json!("review"), &Value::Null));
    shop.advance(Duration::from_secs(60));
    shop.sandbox.refund(&payment.id, Some(300)).unwrap();
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!((&shown["status"], &shown["refunded_halalas"]), (&json!("refunded"), &json!(500)));
    let heard = |part| format!("of money that is held {part} of 5 SAR were given back");
    assert_eq!(
        shop.reviews().await,
        [
            ("amount_mismatch".into(), "billed 990 SAR, charged 5 SAR".into()),
            ("held_refund".into(), heard(2)),
            ("held_refund".into(), heard(5)),
        ]
    );
    assert_eq!(shop.count("subscriptions").await, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_second_payment_of_one_invoice_is_held_and_its_refund_leaves_the_first(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    shop.sandbox.fault(Fault::payment(Twist::Late).once());
    let second = shop.pay(&bought, cards::VISA_APPROVED).await;
    shop.settle().await;
    assert_eq!(shop.reviews().await[0].0, "second_payment");
    shop.advance(Duration::from_secs(60));
    shop.sandbox.refund(&second.id, None).unwrap();
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!((&shown["status"], &shown["refunded_halalas"]), (&json!("paid"), &Value::Null));
    assert_eq!(shown["subscription"]["current_period_end"], "2026-02-02T03:04:05Z");
    assert_eq!(shop.count("payments where standing = 'returned'").await, 1);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_plan_change_that_is_refunded_at_once_is_heard_of(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    let growth = shop.app.post(CHECKOUT, order_with(&json!({ "plan_id": "growth" }))).await.json();
    let invoice = growth["invoice_id"].as_str().unwrap();
    let payment = shop.sandbox.pay(invoice, cards::MADA_APPROVED).await.unwrap();
    shop.sandbox.refund(&payment.id, None).unwrap();
    shop.settle().await;
    let path = format!("{CHECKOUT}/{}", growth["checkout_id"].as_str().unwrap());
    assert_eq!(shop.app.get(&path).await.json()["status"], "refunded");
    let kinds: Vec<_> = shop.reviews().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["held_refund", "plan_change"]);
    assert_eq!(shop.look(&bought).await["subscription"]["status"], "active");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_payment_that_is_first_seen_voided_is_for_a_person_and_the_checkout_stays_open(
    db: PgPool,
) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    drop(shop.sandbox.take_held_webhooks());
    shop.sandbox.void(&payment.id).unwrap();
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!(
        (&shown["status"], &shown["last_attempt"]["status"]),
        (&json!("pending"), &json!("voided"))
    );
    assert_eq!(shop.reviews().await[0].0, "voided_unseen");
}

#[sqlx::test(migrations = "./migrations")]
async fn the_attempt_that_is_shown_is_the_newest_whenever_it_was_heard_of(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    shop.pay(&bought, cards::MADA_INSUFFICIENT_FUNDS).await;
    let older = shop.sandbox.take_held_webhooks();
    shop.advance(Duration::from_secs(60));
    shop.pay(&bought, cards::MADA_EXPIRED).await;
    shop.settle().await;
    let newest = shop.look(&bought).await["last_attempt"].clone();
    for envelope in older {
        shop.deliver(&envelope).await;
    }
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["last_attempt"], newest);
    assert_eq!(shop.count("payment_effects where effect = 'attempt:failed'").await, 2);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_unknown_status_is_asked_about_once(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    for second in 1..=2 {
        shop.advance(Duration::from_secs(second));
        shop.sandbox.set_payment_status(&payment.id, "on_hold").unwrap();
        let event = crate::webhooks::event(&json!({ "id": second, "data": { "id": payment.id } }));
        shop.deliver(&event).await;
        shop.app.app.run_jobs_until_idle().await.unwrap();
    }
    let kinds: Vec<_> = shop.reviews().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["unknown_status"]);
    assert_eq!(shop.look(&bought).await["status"], "pending");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_hold_that_is_captured_late_pays_from_the_day_of_the_capture(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    drop(shop.sandbox.take_held_webhooks());
    shop.sandbox.set_payment_status(&payment.id, "authorized").unwrap();
    shop.settle().await;
    assert_eq!(shop.look(&bought).await["status"], "pending");
    shop.advance(Duration::from_hours(13 * 24));
    shop.sandbox.capture(&payment.id, None).unwrap();
    shop.settle().await;
    let shown = shop.look(&bought).await;
    assert_eq!(
        (&shown["status"], &shown["paid_at"]),
        (&json!("paid"), &json!("2026-01-15T03:04:05Z"))
    );
    assert_eq!(shown["subscription"]["current_period_end"], "2026-02-15T03:04:05Z");
}
