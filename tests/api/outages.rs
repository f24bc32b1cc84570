//! Long outages on a held clock: whoever comes meanwhile is taken in, and afterwards everything is done
//! without anybody's help.

use std::time::Duration;

use dealix_sandbox::{Fault, Operation, Trouble, cards};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::dead_letters::DeadLetters;
use crate::proxy::Proxy;
use crate::shop::Shop;

/// Postgres says of every new event that it takes none, as after a failover.
const REFUSE: &str = "
    create function refuse() returns trigger language plpgsql as
        $$ begin raise exception 'no' using errcode = '25006'; end $$;
    create trigger refuse before insert on webhook_events execute function refuse()";

/// Webhooks of as many sales, all paid and none delivered.
async fn paid_sales(shop: &Shop, count: usize) -> Vec<Value> {
    for _ in 0..count {
        let bought = shop.buy().await;
        shop.pay(&bought, cards::MADA_APPROVED).await;
    }
    let webhooks = shop.sandbox.take_held_webhooks();
    assert_eq!(webhooks.len(), count);
    webhooks
}

/// Lets time pass, and the loops do what there is to do.
async fn run_for(shop: &Shop, minutes: u64) {
    for _ in 0..minutes * 4 {
        shop.advance(Duration::from_secs(15));
        shop.run_jobs().await;
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn thirty_minutes_without_postgres_leave_nothing_dead_and_need_no_operator(db: PgPool) {
    let (postgres, url) = Proxy::to_postgres(&db).await;
    let shop = Shop::open_alone(&[("DATABASE_URL", &url)]).await;
    let webhooks = paid_sales(&shop, 30).await;
    shop.run_jobs().await;
    let mut letters = DeadLetters::of(&shop.app);

    // It hangs, and a few minutes later it answers again and takes nothing.
    let (frozen, refused) = webhooks.split_at(3);
    postgres.freeze();
    for webhook in frozen {
        assert_eq!(shop.deliver(webhook).await.json()["status"], "dlq");
        shop.advance(Duration::from_secs(60));
    }
    sqlx::raw_sql(REFUSE).execute(&db).await.unwrap();
    postgres.thaw();
    for webhook in refused {
        assert_eq!(shop.deliver(webhook).await.json()["status"], "dlq");
        run_for(&shop, 1).await;
    }
    let waiting = letters.all();
    assert_eq!(waiting.len(), webhooks.len());
    for (id, letter) in waiting {
        assert_eq!(letter["attempt"], 0, "{id}");
    }
    assert_eq!(letters.ids("dead"), [""; 0]);
    assert_eq!(shop.count("webhook_events").await, 0);

    sqlx::raw_sql("drop function refuse() cascade").execute(&db).await.unwrap();
    run_for(&shop, 2).await;
    assert_eq!(letters.all(), []);
    assert_eq!(shop.count("webhook_events where status = 'done'").await, 30);
    assert_eq!(shop.count("checkouts where status = 'paid'").await, 30);
    assert_eq!(shop.count("payment_effects where effect = 'granted'").await, 30);
    assert_eq!(shop.count("reviews").await, 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn an_hour_without_posthog_loses_no_event_and_is_probed_seldom(db: PgPool) {
    let shop = Shop::open(db).await;
    shop.run_jobs().await;
    shop.sandbox.fault(Fault::before(Operation::CaptureBatch, Trouble::status(503)));
    for _ in 0..60 {
        let bought = shop.buy().await;
        shop.pay(&bought, cards::MADA_APPROVED).await;
        shop.settle().await;
        run_for(&shop, 1).await;
    }
    // Five failures open the breaker; from then on it is one request a minute at most.
    let asked = shop.sandbox.ledger().requests(Operation::CaptureBatch);
    assert!((6..=5 + 60).contains(&asked), "{asked}");
    assert_eq!(shop.analytics(), [""; 0]);
    assert_eq!(shop.count("outbox where status = 'pending'").await, 120);

    shop.sandbox.clear_faults();
    run_for(&shop, 6).await;
    let ledger = shop.sandbox.ledger();
    let mut sent: Vec<_> = ledger.posthog_events().iter().map(|event| json!(event.uuid)).collect();
    assert!(ledger.posthog_events().iter().all(|event| !event.is_changed));
    sent.sort_by_key(Value::to_string);
    let owed: Vec<String> = sqlx::query_scalar("select uuid::text from outbox order by uuid::text")
        .fetch_all(&shop.app.db)
        .await
        .unwrap();
    assert_eq!(sent, owed.into_iter().map(Value::from).collect::<Vec<_>>());
    assert_eq!(sent.len(), 120);
    assert_eq!(shop.count("outbox where status <> 'sent'").await, 0);
}
