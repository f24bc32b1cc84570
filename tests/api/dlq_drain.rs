//! Replay on an operator's word, CONTRACT section 5: drains, single retries, rehearsals.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use dealix::queue::{Payload, Queue};
use dealix_sandbox::{Fault, Operation, Trouble};
use futures_util::FutureExt;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::dead_letters::DeadLetters;
use crate::desk::{
    audited, failed_sale, letter, letters, list, look, message, only_id, order, outcomes, push,
};
use crate::shop::Shop;
use crate::webhooks::event;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// An event that only Redis took.
async fn event_in_the_queue(shop: &Shop, id: &str, changes: &Value) {
    let mut body = event(changes);
    body["id"] = json!(id);
    let payload = Payload::Event {
        event_id: id.to_owned(),
        event_type: None,
        received_at: shop.app.clock.now(),
        body: body.to_string(),
    };
    let mut letter = letter(&shop.app, &format!("moyasar:{id}"), payload);
    letter.source = "moyasar".into();
    push(&shop.app, Queue::Webhooks, &letter).await;
}

#[sqlx::test(migrations = "./migrations")]
async fn a_drain_replays_what_waits_whatever_its_backoff_and_never_the_dead(db: PgPool) {
    let shop = Shop::open(db).await;
    let bought = failed_sale(&shop).await;
    let scheduled = only_id(&shop.app).await;
    shop.advance(Duration::from_secs(1));
    // Stored, and settled by the workers.
    event_in_the_queue(&shop, "fresh", &json!({ "type": "balance_transferred" })).await;
    shop.advance(Duration::from_secs(1));
    // Somebody else has settled it.
    event_in_the_queue(&shop, "known", &json!({ "type": "balance_transferred" })).await;
    let known = event(&json!({ "id": "known", "type": "balance_transferred" }));
    assert_eq!(shop.deliver(&known).await.json()["status"], "ignored");
    let mut raw = DeadLetters::of(&shop.app);
    raw.put("broken", b"{\"v\":1,");
    raw.put("newer", br#"{"v":99,"of":"tomorrow"}"#);
    let now = shop.app.clock.now();
    let dead =
        letter(&shop.app, "moyasar:dead", Payload::StoredEvent { row_id: uuid::Uuid::nil() });
    letters(&shop.app).push_dead(Queue::Webhooks, &dead, now).await.unwrap();

    let drained = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!(drained.status, StatusCode::OK, "{drained:?}");
    let mut found = outcomes(&drained);
    found.sort();
    let pair = |id: &str, outcome: &str| (id.to_owned(), outcome.to_owned());
    let mut expected = vec![
        pair("broken", "dead"),
        pair("moyasar:fresh", "succeeded"),
        pair("moyasar:known", "superseded"),
        pair("newer", "held"),
        pair(&scheduled, "succeeded"),
    ];
    expected.sort();
    assert_eq!(found, expected);
    let told = drained.json();
    let counts: Vec<_> =
        ["processed", "drained", "succeeded", "re_queued", "dead", "held", "remaining"]
            .map(|name| told[name].as_u64().unwrap())
            .into();
    assert_eq!(counts, [5, 3, 3, 0, 1, 1, 3]);
    assert_eq!((&told["queue"], told.get("stopped")), (&json!("webhooks"), None));
    assert_eq!(shop.look(&bought).await["status"], "paid");
    let states: Vec<_> = list(&shop.app, "/webhooks?state=dead").await;
    assert_eq!(states.len(), 2, "{states:?}");
    let rows = audited(&shop.app, "dlq.drained").await;
    assert_eq!((rows.len(), rows[0].1.as_str()), (1, "webhooks"));
    assert_eq!((&rows[0].3, &rows[0].4), (&json!({ "depth": 6 }), &json!({ "limit": 10 })));
    // Nobody but the newer version can do anything about the one that is left.
    let again = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!(outcomes(&again), [pair("newer", "held")]);
}

#[sqlx::test(migrations = "./migrations")]
async fn each_entry_is_tried_once_in_a_drain_and_its_failure_counts(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    let id = only_id(&shop.app).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    let asked = shop.sandbox.ledger().requests("fetch_payment");
    for attempt in 1..5 {
        let drained = order(&shop.app, Method::POST, "/webhooks/drain?limit=100").await;
        assert_eq!(outcomes(&drained), [(id.clone(), "re_queued".to_owned())]);
        assert!(drained.json()["items"][0]["error"].is_string(), "{drained:?}");
        let entry = &list(&shop.app, "/webhooks").await[0];
        assert_eq!((&entry["attempt"], &entry["state"]), (&json!(attempt), &json!("scheduled")));
    }
    let last = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!(outcomes(&last), [(id.clone(), "dead".to_owned())]);
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), asked + 5);
    let nothing = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!((nothing.json()["processed"].clone(), outcomes(&nothing)), (json!(0), vec![]));

    // A single retry takes it from there, and fails again, and then succeeds.
    let path = format!("/webhooks/entries/{id}/retry");
    let failed = order(&shop.app, Method::POST, &path).await.json();
    assert_eq!((&failed["id"], &failed["outcome"]), (&json!(id), &json!("dead")));
    shop.sandbox.clear_faults();
    let retried = order(&shop.app, Method::POST, &path).await.json();
    assert_eq!(retried, json!({ "id": id, "source": "moyasar", "outcome": "succeeded" }));
    assert_eq!(shop.count("payment_effects where effect = 'granted'").await, 1);
    assert_eq!(look(&shop.app, "/queues").await.json()["total_depth"], 0);
    let rows = audited(&shop.app, "dlq.retried").await;
    assert_eq!((rows.len(), &rows[1].3), (2, &json!({ "state": "dead" })));
    assert_eq!(rows[1].1, format!("webhooks/{id}"));
    assert_eq!(order(&shop.app, Method::POST, &path).await.code(), "entry-not-found");
}

#[sqlx::test(migrations = "./migrations")]
async fn what_nobody_does_yet_and_what_needs_a_provider_that_is_away_is_held(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    let id = only_id(&shop.app).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)));
    let before = list(&shop.app, "/webhooks").await[0].clone();
    let drained = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!(outcomes(&drained), [(id.clone(), "held".to_owned())]);
    assert_eq!(drained.json()["items"][0]["error"], "server_error");
    let after = list(&shop.app, "/webhooks").await[0].clone();
    assert_eq!(after, before, "it waits as long as before, and no attempt counts");
    for (queue, name) in [
        (Queue::Outbound, "outbound"),
        (Queue::Enrichment, "enrichment"),
        (Queue::CrmSync, "crm_sync"),
    ] {
        push(&shop.app, queue, &message(&shop.app, "job:1")).await;
        shop.run_jobs().await;
        for way in ["drain", "entries/job:1/retry"] {
            let answer = order(&shop.app, Method::POST, &format!("/{name}/{way}")).await.json();
            let item = answer.pointer("/items/0").unwrap_or(&answer);
            assert_eq!((&item["outcome"], &item["error"]), (&json!("held"), &json!("no_handler")));
        }
        let entry = &list(&shop.app, &format!("/{name}")).await[0];
        assert_eq!((&entry["attempt"], &entry["error_class"]), (&json!(0), &json!("refused")));
    }
    // A dead one stays dead.
    let now = shop.app.clock.now();
    let dead = message(&shop.app, "job:2");
    letters(&shop.app).push_dead(Queue::Outbound, &dead, now).await.unwrap();
    order(&shop.app, Method::POST, "/outbound/entries/job:2/retry").await;
    let states = list(&shop.app, "/outbound?state=dead").await;
    assert_eq!((states.len(), &states[0]["id"]), (1, &json!("job:2")));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_drain_goes_on_behind_the_one_before_and_tries_nothing_twice(db: PgPool) {
    let shop = Shop::open(db).await;
    for number in 1..=5 {
        push(&shop.app, Queue::Outbound, &message(&shop.app, &format!("job:{number}"))).await;
        shop.advance(Duration::from_secs(1));
    }
    for rehearsal in ["", "&dry_run=true"] {
        let (mut tried, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/outbound/drain?limit=2{rehearsal}{cursor}");
            let drained = order(&shop.app, Method::POST, &path).await;
            tried.extend(outcomes(&drained).into_iter().map(|(id, _)| id));
            // All of them are still there, and due: only the cursor knows.
            assert_eq!(drained.json()["remaining"], 5);
            let Some(next) = drained.json().get("next_cursor").cloned() else { break };
            cursor = format!("&cursor={}", next.as_str().unwrap());
        }
        assert_eq!(tried, ["job:1", "job:2", "job:3", "job:4", "job:5"]);
    }
    let strange = order(&shop.app, Method::POST, "/outbound/drain?cursor=none").await;
    assert_eq!((strange.status.as_u16(), strange.code().as_str()), (422, "invalid-request"));
}

#[sqlx::test(migrations = "./migrations")]
async fn what_somebody_else_has_in_hand_by_then_is_not_told_to_be_queued_again(db: PgPool) {
    let shop = Shop::open(db.clone()).await;
    failed_sale(&shop).await;
    let (id, mut queue) = (only_id(&shop.app).await, DeadLetters::of(&shop.app));
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(400)));
    let mut lock = db.begin().await.unwrap();
    sqlx::query("lock table webhook_events").execute(&mut *lock).await.unwrap();
    let path = format!("/webhooks/entries/{id}/retry");
    let mut retry = std::pin::pin!(order(&shop.app, Method::POST, &path));
    while queue.ids("leased").is_empty() {
        futures_util::future::select(&mut retry, std::pin::pin!(tokio::task::yield_now())).await;
    }
    queue.pass_on(&id);
    lock.rollback().await.unwrap();
    let told = retry.await.json();
    assert_eq!((&told["outcome"], &told["error"]), (&json!("held"), &json!("lease_ended")));
    let left = list(&shop.app, "/webhooks").await;
    assert_eq!((left.len(), &left[0]["state"]), (1, &json!("in_flight")));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_drain_goes_on_when_its_client_hangs_up(db: PgPool) {
    let shop = Shop::open(db).await;
    for number in 0..20 {
        let changes = json!({ "type": "balance_transferred" });
        event_in_the_queue(&shop, &format!("e{number}"), &changes).await;
    }
    {
        let drain = order(&shop.app, Method::POST, "/webhooks/drain?limit=20").fuse();
        let mut drain = std::pin::pin!(drain);
        // As soon as it has done something its client is gone.
        while shop.count("webhook_events").await == 0 {
            futures_util::future::select(&mut drain, std::pin::pin!(tokio::task::yield_now()))
                .await;
        }
    }
    assert!(shop.app.tasks.stop(Duration::from_secs(20)).await);
    // Shutdown waits for what is in hand, and takes no more.
    let left = list(&shop.app, "/webhooks?limit=100").await;
    assert!(left.iter().all(|entry| entry["state"] != "in_flight"), "{left:?}");
    let stored = shop.count("webhook_events").await;
    assert_eq!(usize::try_from(stored).unwrap() + left.len(), 20);
    assert!(stored > 0);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_drain_takes_no_more_after_twenty_seconds(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    for number in 0..12 {
        shop.advance(Duration::from_secs(1));
        event_in_the_queue(&shop, &format!("e{number}"), &json!({ "type": "refused_by_none" }))
            .await;
    }
    // The first one takes long: meanwhile the clock is moved.
    let latency = Trouble::Latency(Duration::from_millis(300));
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, latency));
    let drain = order(&shop.app, Method::POST, "/webhooks/drain?limit=100");
    let late = async {
        let asked = shop.sandbox.ledger().requests("fetch_payment");
        while shop.sandbox.ledger().requests("fetch_payment") == asked {
            tokio::task::yield_now().await;
        }
        shop.app.clock.advance(Duration::from_secs(20));
    };
    let (drained, ()) = tokio::join!(drain, late);
    let told = drained.json();
    assert_eq!((&told["stopped"], &told["processed"]), (&json!("deadline"), &json!(8)), "{told}");
    assert_eq!(told["remaining"], 5);
}

/// Everything that Postgres and Redis hold of a test.
async fn world(shop: &Shop) -> (String, Vec<(String, Value)>, Value) {
    let mut tables = String::new();
    for table in [
        "webhook_events",
        "payments",
        "payment_effects",
        "outbox",
        "checkouts",
        "subscriptions",
        "reviews",
        "audit_log",
        "invoices",
    ] {
        let all =
            format!("select coalesce(json_agg(t order by t::text), '[]')::text from {table} t");
        let rows: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(all)).fetch_one(&shop.app.db).await.unwrap();
        tables.push_str(&rows);
    }
    let breakers = shop.app.get_as(crate::harness::READER_KEY, "/api/v1/admin/circuit-breakers");
    let mut letters = DeadLetters::of(&shop.app).all();
    letters.sort_by(|one, other| one.0.cmp(&other.0));
    (tables, letters, breakers.await.json())
}

#[sqlx::test(migrations = "./migrations")]
async fn a_rehearsal_says_what_would_happen_and_changes_nothing(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    let id = only_id(&shop.app).await;
    event_in_the_queue(&shop, "known", &json!({ "type": "balance_transferred" })).await;
    let known = event(&json!({ "id": "known", "type": "balance_transferred" }));
    shop.deliver(&known).await;
    event_in_the_queue(&shop, "nobodys", &json!({})).await;
    DeadLetters::of(&shop.app).put("newer", br#"{"v":99,"of":"tomorrow"}"#);
    let before = world(&shop).await;
    let rehearsed = order(&shop.app, Method::POST, "/webhooks/drain?dry_run=true").await;
    assert_eq!(rehearsed.status, StatusCode::OK, "{rehearsed:?}");
    let told = rehearsed.json();
    let counts: Vec<_> =
        ["rehearsed", "would_succeed", "would_fail", "superseded", "held", "remaining"]
            .map(|name| told[name].as_u64().unwrap())
            .into();
    assert_eq!(counts, [4, 2, 0, 1, 1, 4], "{told}");
    let items = told["items"].as_array().unwrap();
    let of = |id: &str| items.iter().find(|item| item["id"] == id).unwrap();
    let sale = of(&id);
    assert_eq!(sale["outcome"], "would_succeed");
    assert_eq!(sale["outbox"][0]["name"], "payment_succeeded", "{sale}");
    assert_eq!(sale["outbox"][0]["properties"]["amount_halalas"], 99_000);
    // Its letter is done with when it is stored; what the workers will say of it is another matter.
    let nobodys = of("moyasar:nobodys");
    assert_eq!(
        (&nobodys["outcome"], &nobodys["then"]["outcome"], sale.get("then")),
        (&json!("would_succeed"), &json!("would_fail"), None)
    );
    assert!(nobodys["then"]["error"].as_str().is_some_and(|it| !it.is_empty()), "{nobodys}");
    assert_eq!(of("moyasar:known")["outcome"], "superseded");
    assert_eq!(of("newer")["outcome"], "held");
    assert_eq!(world(&shop).await, before);
    // And then it happens so.
    let drained = order(&shop.app, Method::POST, "/webhooks/drain").await;
    let mut found = outcomes(&drained);
    found.sort();
    let pair = |id: &str, outcome: &str| (id.to_owned(), outcome.to_owned());
    let mut expected = vec![
        pair(&id, "succeeded"),
        pair("moyasar:known", "superseded"),
        pair("moyasar:nobodys", "succeeded"),
        pair("newer", "held"),
    ];
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(shop.count("outbox where name = 'payment_succeeded'").await, 1);
    shop.run_jobs().await;
    assert_eq!(
        shop.count("webhook_events where dedupe_key = 'nobodys' and last_error is not null").await,
        1
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn in_mode_sync_a_rehearsal_and_a_drain_settle_what_they_store(db: PgPool) {
    let shop = Shop::open_with(db, &[("NEW_QUEUE_ENABLED", "false")]).await;
    event_in_the_queue(&shop, "nobodys", &json!({})).await;
    let told = order(&shop.app, Method::POST, "/webhooks/drain?dry_run=true").await.json();
    let item = &told["items"][0];
    assert_eq!((&item["outcome"], item.get("then")), (&json!("would_fail"), None), "{told}");
    let drained = order(&shop.app, Method::POST, "/webhooks/drain").await;
    assert_eq!(outcomes(&drained), [("moyasar:nobodys".to_owned(), "re_queued".to_owned())]);
    assert_eq!(drained.json()["items"][0]["error"], item["error"]);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_rehearsal_is_no_probe_and_counts_for_no_breaker(db: PgPool) {
    let shop = Shop::open(db).await;
    failed_sale(&shop).await;
    shop.sandbox.fault(Fault::before(Operation::FetchPayment, Trouble::status(503)));
    let rehearse = async || {
        let answer = order(&shop.app, Method::POST, "/webhooks/drain?dry_run=true").await.json();
        let item = answer["items"][0].clone();
        (item["outcome"].clone(), item["error"].clone())
    };
    let before = world(&shop).await;
    for _ in 0..6 {
        assert_eq!(rehearse().await, (json!("held"), json!("server_error")));
    }
    assert_eq!(world(&shop).await, before);
    for _ in 0..6 {
        order(&shop.app, Method::POST, "/webhooks/drain").await;
    }
    shop.sandbox.clear_faults();
    let asked = shop.sandbox.ledger().requests("fetch_payment");
    assert_eq!(rehearse().await, (json!("held"), json!("breaker_open")));
    // Half open, one call may go out, and it is not this one.
    shop.advance(Duration::from_secs(60));
    assert_eq!(rehearse().await, (json!("held"), json!("breaker_open")));
    assert_eq!(shop.sandbox.ledger().requests("fetch_payment"), asked);
}

/// An outbox row that analytics refused, and its letter.
async fn refused_event(shop: &Shop, id: u128) -> uuid::Uuid {
    let row_id = uuid::Uuid::from_u128(id);
    sqlx::query(
        "insert into outbox (uuid, name, distinct_id, happened_at, properties, status, next_attempt_at)
         values ($1, 'payment_succeeded', 'visitor', now(), '{\"plan\":\"starter\",\"note\":\"Sara\"}', 'refused', now())",
    )
    .bind(row_id)
    .execute(&shop.app.db)
    .await
    .unwrap();
    let mut owed = letter(&shop.app, &format!("outbox:{id}"), Payload::OutboxRow { row_id });
    owed.source = "posthog".into();
    push(&shop.app, Queue::Analytics, &owed).await;
    row_id
}

#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_analytics_refused_is_sent_again_and_rehearsed_without(db: PgPool) {
    let shop = Shop::open(db).await;
    refused_event(&shop, 1).await;
    let rehearsed = order(&shop.app, Method::POST, "/analytics/drain?dry_run=true").await.json();
    assert_eq!(
        rehearsed["items"],
        json!([{ "id": "outbox:1", "source": "posthog", "outcome": "would_succeed", "outbox": [
            { "name": "payment_succeeded", "properties": { "plan": "starter", "note": "[redacted]" } }
        ] }])
    );
    assert_eq!(shop.analytics(), Vec::<String>::new());
    shop.sandbox.fault(Fault::before(Operation::CaptureBatch, Trouble::status(400)).once());
    let refused = order(&shop.app, Method::POST, "/analytics/drain").await;
    assert_eq!(outcomes(&refused), [("outbox:1".to_owned(), "re_queued".to_owned())]);
    shop.sandbox.fault(Fault::before(Operation::CaptureBatch, Trouble::status(503)).once());
    let away = order(&shop.app, Method::POST, "/analytics/drain").await;
    assert_eq!(outcomes(&away), [("outbox:1".to_owned(), "held".to_owned())]);
    let sent = order(&shop.app, Method::POST, "/analytics/drain").await;
    assert_eq!(outcomes(&sent), [("outbox:1".to_owned(), "succeeded".to_owned())]);
    assert_eq!(shop.analytics(), ["payment_succeeded"]);
    assert_eq!(shop.count("outbox where status = 'sent'").await, 1);
    // Sent by somebody else meanwhile.
    let row_id = refused_event(&shop, 2).await;
    sqlx::query("update outbox set status = 'sent' where uuid = $1")
        .bind(row_id)
        .execute(&shop.app.db)
        .await
        .unwrap();
    let known = order(&shop.app, Method::POST, "/analytics/drain").await;
    assert_eq!(outcomes(&known), [("outbox:2".to_owned(), "superseded".to_owned())]);
    assert_eq!(shop.analytics().len(), 1);
    // The worker does the same by itself.
    refused_event(&shop, 3).await;
    shop.advance(HOUR);
    shop.run_jobs().await;
    assert_eq!(shop.analytics().len(), 2);
}
