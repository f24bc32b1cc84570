//! Refunds of a customer who has paid more than once, CONTRACT section 3: what was paid for and not given
//! back is kept.

use std::time::Duration;

use dealix_sandbox::{Payment, cards};
use serde_json::json;
use sqlx::PgPool;

use crate::shop::{Bought, Shop};

const A_MONTH: &str = "2026-02-02T03:04:05Z";
const DAY: Duration = Duration::from_hours(24);

async fn buy_and_pay(shop: &Shop) -> (Bought, Payment) {
    let bought = shop.buy().await;
    let payment = shop.pay(&bought, cards::MADA_APPROVED).await;
    shop.settle().await;
    (bought, payment)
}

async fn refund(shop: &Shop, payment: &Payment) {
    shop.advance(Duration::from_secs(60));
    shop.sandbox.refund(&payment.id, None).unwrap();
    shop.settle().await;
}

/// The subscription is what one payment made of it, and a person has heard so.
async fn assert_goes_on(shop: &Shop, kept: &(Bought, Payment), gone: &Bought) {
    let shown = shop.look(&kept.0).await;
    assert_eq!(shown["status"], "paid");
    let goes_on = json!({ "status": "active", "current_period_end": A_MONTH });
    assert_eq!(shown["subscription"], goes_on);
    assert_eq!(shop.look(gone).await["status"], "refunded");
    let difference = format!(
        "the subscription goes on until {A_MONTH}: payment {} was not given back",
        kept.1.id
    );
    assert_eq!(shop.reviews().await, [("one_of_several_reversed".into(), difference)]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_refund_of_an_older_payment_leaves_what_a_newer_one_granted(db: PgPool) {
    let shop = Shop::open(db).await;
    let (first, older) = buy_and_pay(&shop).await;
    let second = buy_and_pay(&shop).await;
    refund(&shop, &older).await;
    assert_goes_on(&shop, &second, &first).await;
}

#[sqlx::test(migrations = "./migrations")]
async fn a_refund_of_a_double_payment_takes_its_month_back_and_leaves_the_first(db: PgPool) {
    let shop = Shop::open(db).await;
    let first = buy_and_pay(&shop).await;
    let (second, newer) = buy_and_pay(&shop).await;
    assert_eq!(
        shop.look(&second).await["subscription"]["current_period_end"],
        "2026-03-02T03:04:05Z"
    );
    refund(&shop, &newer).await;
    assert_goes_on(&shop, &first, &second).await;
    // When the first is given back as well, nothing is left.
    refund(&shop, &first.1).await;
    assert_eq!(shop.look(&first.0).await["subscription"]["status"], "canceled");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_payment_that_is_first_seen_refunded_leaves_what_another_one_granted(db: PgPool) {
    let shop = Shop::open(db).await;
    let unheard = shop.buy().await;
    let other = shop.buy().await;
    let lost = shop.pay(&unheard, cards::MADA_APPROVED).await;
    drop(shop.sandbox.take_held_webhooks());
    let payment = shop.pay(&other, cards::MADA_APPROVED).await;
    shop.settle().await;
    refund(&shop, &lost).await;
    assert_goes_on(&shop, &(other, payment), &unheard).await;
}

#[sqlx::test(migrations = "./migrations")]
async fn a_refund_cancels_when_the_time_of_every_other_payment_is_over(db: PgPool) {
    let shop = Shop::open(db).await;
    buy_and_pay(&shop).await;
    shop.advance(DAY * 30);
    let (second, newer) = buy_and_pay(&shop).await;
    shop.advance(DAY * 10);
    refund(&shop, &newer).await;
    assert_eq!(shop.look(&second).await["subscription"]["status"], "canceled");
    assert_eq!(shop.reviews().await, []);
}

#[sqlx::test(migrations = "./migrations")]
async fn two_reversals_of_one_subscriber_at_once_do_not_wait_for_each_other(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    let (_, older) = buy_and_pay(&shop).await;
    buy_and_pay(&shop).await;
    // Another reversal is about to let the subscription rest on the older payment ...
    let mut other = db.begin().await.unwrap();
    let lock = "select pg_advisory_xact_lock(hashtextextended(subscriber, 0)) from subscriptions";
    sqlx::query(lock).execute(&mut *other).await.unwrap();
    // ... which is given back now, and waits for its turn at the subscription.
    shop.advance(Duration::from_secs(60));
    shop.sandbox.refund(&older.id, None).unwrap();
    shop.deliver_webhooks().await;
    let mut settling = Box::pin(shop.app.app.run_jobs_until_idle());
    let waits = async {
        let waiting = "select count(*) from pg_locks join pg_database on pg_database.oid = database
             where datname = current_database() and locktype = 'advisory' and not granted";
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut *other).await.unwrap() == 0 {}
    };
    tokio::select! {
        settled = &mut settling => panic!("it should wait: {settled:?}"),
        () = waits => (),
    }
    let rest = "update subscriptions set payment_id = $1";
    sqlx::query(rest).bind(&older.id).execute(&mut *other).await.unwrap();
    other.rollback().await.unwrap();
    settling.await.unwrap();
    assert_eq!(shop.count("payments where standing = 'reversed'").await, 1);
}
