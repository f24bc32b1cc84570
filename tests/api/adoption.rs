//! The lists of the predecessors, CONTRACT section 5, "Old lists": each entry is taken over exactly once,
//! whatever it looks like and whoever else is at it.

use std::time::Duration;

use dealix_sandbox::cards;
use futures_util::future::join;
use redis::Commands;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::{TestApp, redis_prefix};
use crate::proxy::Proxy;
use crate::redis_server::{DURABLE, RedisServer};
use crate::shop::Shop;

const SECRET: &str = "old-shared-secret";

/// A Redis that the predecessors have used, and their way of writing to it.
struct Old {
    server: RedisServer,
    connection: redis::Connection,
}

impl Old {
    async fn start() -> Self {
        let server = RedisServer::start(DURABLE).await;
        let client = redis::Client::open(server.url("")).unwrap();
        Self { connection: client.get_connection().unwrap(), server }
    }

    fn url(&self) -> String {
        self.server.url("")
    }

    /// New ones come at the left end.
    fn push(&mut self, list: &str, entry: impl AsRef<[u8]>) {
        let () = self.connection.lpush(list, entry.as_ref()).unwrap();
    }

    fn keys(&mut self) -> Vec<String> {
        let mut keys: Vec<String> = self.connection.keys("dlq:*").unwrap();
        keys.sort();
        keys
    }

    /// What we have in a queue: the letters with the state of each, oldest first.
    fn letters(&mut self, app: &TestApp, queue: &str) -> Vec<Value> {
        let options = app.db.connect_options();
        let prefix = redis_prefix(options.get_database().unwrap().to_owned());
        let key = |part: &str| format!("{prefix}:dlq:{{{queue}}}:2:{part}");
        let mut found = Vec::new();
        for state in ["ready", "scheduled", "in_flight", "dead"] {
            let ids: Vec<(String, i64)> =
                self.connection.zrange_withscores(key(state), 0, -1).unwrap();
            for (id, made) in ids {
                let json: String = self.connection.hget(key("letters"), &id).unwrap();
                assert!(!json.contains(SECRET), "{json}");
                let mut letter: Value = serde_json::from_str(&json).unwrap();
                letter["state"] = state.into();
                found.push((made, letter));
            }
        }
        let all: usize = self.connection.hlen(key("letters")).unwrap();
        assert_eq!(found.len(), all, "each is in one state");
        found.sort_by_key(|(made, _)| *made);
        found.into_iter().map(|(_, letter)| letter).collect()
    }
}

/// As the later one of the predecessors wrote it.
fn shape_b(payload: &str) -> String {
    format!(
        r#"{{"id": "00ff", "queue": "q", "source": "worker", "payload": {payload}, "error": "TimeoutError", "attempts": 3, "first_seen_at": 1764547200.5, "last_attempt_at": 1764547260.0, "metadata": {{"n": 1}}}}"#
    )
}

/// As the earlier one did.
fn shape_a(payload: &str) -> String {
    format!(
        r#"{{"id": "00ff", "source": "worker", "payload": {payload}, "error": "TimeoutError", "attempt": 3, "max_retries": 5, "created_at": "2025-12-01T00:00:00.500000", "last_attempt_at": "2025-12-01T00:01:00Z", "request_id": "req-1"}}"#
    )
}

fn event(id: &str) -> Value {
    json!({
        "id": id, "type": "payment_paid", "secret_token": SECRET, "live": false,
        "data": { "id": "b61e6ba5-3682-4dd6-b804-69b84b2d451c" },
    })
}

async fn open(db: PgPool, old: &Old) -> Shop {
    Shop::open_with(db, &[("REDIS_URL", &old.url())]).await
}

#[sqlx::test(migrations = "./migrations")]
async fn entries_of_both_shapes_come_to_where_they_belong(db: PgPool) {
    let mut old = Old::start().await;
    let job = format!(r#"{{"to": "x", "n": 1.50, "raw": {{"secret_token": "{SECRET}"}}}}"#);
    let kept = job.replace(SECRET, "[redacted]");
    for list in ["outbound", "enrichment", "analytics", "crm_sync", "sms"] {
        old.push(&format!("dlq:{list}"), shape_a(&job));
        old.push(&format!("dlq:{list}"), shape_b(&job));
    }
    let () = old.connection.hset("dlq:outbound:meta", "last_error", "x").unwrap();
    let () = old.connection.hset("dlq:outbound:retry_count", "00ff", 3).unwrap();
    let () = old.connection.set("dlq:lock", "x").unwrap();
    let () = old.connection.zadd("dlq:enrichment:ages", "00ff", 1).unwrap();
    let shop = open(db, &old).await;
    shop.run_jobs().await;

    let left = ["dlq:enrichment:ages", "dlq:lock", "dlq:outbound:meta", "dlq:outbound:retry_count"];
    assert_eq!(old.keys(), left);
    for queue in ["outbound", "enrichment", "analytics", "crm_sync"] {
        let letters = old.letters(&shop.app, queue);
        assert_eq!(letters.len(), if queue == "outbound" { 4 } else { 2 }, "{queue}");
        for letter in letters {
            assert_eq!(letter["state"], "dead", "{queue}");
            assert_eq!(letter["error_class"], "adopted");
            assert_eq!(letter["payload"], json!({"kind": "job", "body": kept}));
            assert_eq!((&letter["error"], &letter["attempt"]), (&json!("TimeoutError"), &json!(3)));
            assert_eq!(letter["created_at"], 1_764_547_200_500_i64);
            assert_eq!(letter["last_attempt_at"], 1_764_547_260_000_i64);
            assert_eq!(letter["predecessor"]["id"], "00ff");
        }
    }
    let sources = old.letters(&shop.app, "outbound").into_iter();
    let mut sources: Vec<_> = sources.map(|it| it["source"].as_str().unwrap().to_owned()).collect();
    sources.sort();
    assert_eq!(sources, ["sms", "sms", "worker", "worker"]);
    let asked =
        old.letters(&shop.app, "crm_sync").into_iter().any(|it| it["request_id"] == "req-1");
    assert!(asked);
}

#[sqlx::test(migrations = "./migrations")]
async fn adopted_webhooks_are_replayed_by_themselves_because_they_are_fetched_again(db: PgPool) {
    let mut old = Old::start().await;
    let shop = open(db, &old).await;
    let mut bought = Vec::new();
    for (list, wrap) in [("webhooks", 0), ("payments", 1), ("moyasar", 2)] {
        bought.push(shop.buy().await);
        shop.pay(bought.last().unwrap(), cards::MADA_APPROVED).await;
        let mut event = shop.sandbox.take_held_webhooks().pop().unwrap();
        if wrap == 1 {
            // The provider has sent it to us as well: written by another hand it is still the same.
            assert_eq!(shop.deliver(&event).await.json()["status"], "ok");
            event["created_at"] = json!("2026-01-02T03:04:05+00:00");
        }
        event["secret_token"] = SECRET.into();
        let payload = match wrap {
            0 => event,
            1 => json!({ "event": event }),
            _ => json!({ "raw_event": event.to_string() }),
        };
        let entry = if wrap == 1 { shape_a } else { shape_b }(&payload.to_string());
        // The same event twice is one.
        old.push(&format!("dlq:{list}"), &entry);
        old.push(&format!("dlq:{list}"), &entry);
    }
    // Nobody can say what this one is about.
    old.push("dlq:webhooks", shape_b(r#"{"payment": "p1"}"#));
    shop.run_jobs().await;
    // They come one after the other, so that they are in nobody's way.
    assert_eq!(old.letters(&shop.app, "webhooks").len(), 3);
    shop.advance(Duration::from_secs(1));
    shop.run_jobs().await;
    for bought in &bought {
        assert_eq!(shop.look(bought).await["status"], "paid");
    }
    assert_eq!(shop.count("payment_effects where effect = 'granted'").await, 3);
    assert_eq!(shop.count("webhook_events where status = 'done'").await, 3);
    assert_eq!(shop.count("reviews").await, 0);
    assert_eq!(old.keys(), [""; 0]);
    let left = old.letters(&shop.app, "webhooks");
    assert_eq!(left.len(), 1);
    assert_eq!((&left[0]["state"], &left[0]["error_class"]), (&json!("dead"), &json!("adopted")));
}

#[sqlx::test(migrations = "./migrations")]
async fn a_malformed_item_goes_to_the_dead_with_its_text_and_stops_nothing(db: PgPool) {
    let mut old = Old::start().await;
    let cut = format!(r#"{{"payload": {{"secret_token": "{SECRET}", "a": "#);
    let odd: [&[u8]; 7] = [b"", b"[]", b"null", b"{'a': 1}", &[0xff, 0xfe], b"{}", cut.as_bytes()];
    for list in ["dlq:webhooks", "dlq:crm_sync"] {
        for entry in odd {
            old.push(list, entry);
        }
        old.push(list, shape_b(&event("e1").to_string()));
    }
    let shop = open(db, &old).await;
    shop.run_jobs().await;
    assert_eq!(old.keys(), [""; 0]);
    for queue in ["webhooks", "crm_sync"] {
        let letters = old.letters(&shop.app, queue);
        let malformed: Vec<_> =
            letters.iter().filter(|letter| letter["error_class"] == "malformed").collect();
        // The event that was right was replayed.
        let others = usize::from(queue == "crm_sync");
        assert_eq!((malformed.len(), letters.len()), (odd.len(), odd.len() + others), "{queue}");
        assert!(malformed.iter().all(|letter| letter["state"] == "dead"));
        let mut texts: Vec<_> = malformed
            .iter()
            .map(|letter| {
                serde_json::from_str(letter["payload"]["body"].as_str().unwrap()).unwrap()
            })
            .collect::<Vec<String>>();
        texts.sort();
        let kept = cut.replace(SECRET, "[redacted]");
        assert_eq!(texts, ["", "[]", "null", &kept, "{'a': 1}", "{}", "\u{fffd}\u{fffd}"]);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn entries_of_the_same_bytes_are_as_many_letters(db: PgPool) {
    let mut old = Old::start().await;
    for _ in 0..120 {
        old.push("dlq:outbound", shape_b("{}"));
    }
    let shop = open(db, &old).await;
    shop.run_jobs().await;
    assert_eq!((old.letters(&shop.app, "outbound").len(), old.keys()), (120, vec![]));
}

#[sqlx::test(migrations = "./migrations")]
async fn two_instances_and_a_writer_at_once_lose_and_double_nothing(db: PgPool) {
    let mut old = Old::start().await;
    let shop = open(db.clone(), &old).await;
    let other = TestApp::start_with(db, &[("REDIS_URL", &old.url())]);
    let mut number = 0;
    let mut write = |old: &mut Old, many: usize| {
        for _ in 0..many {
            let list = ["dlq:outbound", "dlq:enrichment", "dlq:letters"][number % 3];
            // Some of the same bytes.
            old.push(list, shape_b(&format!(r#"{{"n":{}}}"#, number / 10)));
            number += 1;
        }
        number
    };
    write(&mut old, 600);
    let mut both = Box::pin(join(
        Box::pin(shop.app.app.run_jobs_until_idle()),
        Box::pin(other.app.run_jobs_until_idle()),
    ));
    let mut all = 600;
    let (one, two) = loop {
        tokio::select! {
            biased;
            ended = &mut both => break ended,
            () = tokio::task::yield_now() => {
                if all < 900 {
                    all = write(&mut old, 1);
                }
            }
        }
    };
    one.and(two).unwrap();
    all = write(&mut old, 10);
    shop.run_jobs().await;
    assert_eq!(old.keys(), [""; 0]);
    let mut numbers = Vec::new();
    for queue in ["outbound", "enrichment"] {
        for letter in old.letters(&shop.app, queue) {
            let body: Value =
                serde_json::from_str(letter["payload"]["body"].as_str().unwrap()).unwrap();
            numbers.push(usize::try_from(body["n"].as_u64().unwrap()).unwrap());
        }
    }
    numbers.sort_unstable();
    assert!(all > 600);
    assert_eq!(numbers, (0..all).map(|number| number / 10).collect::<Vec<_>>());
}

#[sqlx::test(migrations = "./migrations")]
async fn many_keys_and_large_entries_are_gone_through_in_pieces(db: PgPool) {
    let mut old = Old::start().await;
    let mut fill = redis::pipe();
    for number in 0..5_000 {
        fill.set(format!("dlq:other:{number}"), 1).ignore();
        fill.set(format!("cache:{number}"), 1).ignore();
    }
    let () = fill.query(&mut old.connection).unwrap();
    let large = format!(r#"{{"text": "{}"}}"#, "x".repeat(700_000));
    for _ in 0..4 {
        old.push("dlq:outbound", shape_b(&large));
    }
    let shop = open(db, &old).await;
    shop.run_jobs().await;
    assert_eq!((old.letters(&shop.app, "outbound").len(), old.keys().len()), (4, 5_000));
}

#[sqlx::test(migrations = "./migrations")]
async fn while_redis_is_frozen_entries_stay_and_are_taken_over_later(db: PgPool) {
    let mut old = Old::start().await;
    old.push("dlq:outbound", shape_b("{}"));
    let (redis, url) = Proxy::to_redis_at(&old.url()).await;
    let shop = Shop::open_with(db, &[("REDIS_URL", &url)]).await;
    redis.freeze();
    shop.app.app.run_jobs_until_idle().await.unwrap_err();
    assert_eq!(old.keys(), ["dlq:outbound"]);
    redis.thaw();
    shop.run_jobs().await;
    assert_eq!((old.letters(&shop.app, "outbound").len(), old.keys()), (1, vec![]));
}
