//! `dealix-api dlq`, the real binary: with an instance that answers, and on the stores themselves.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use chrono::{DateTime, TimeDelta, Utc};
use dealix::queue::{Extra, Letter, Letters, Payload, Queue, Redis};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

mod operator;
#[path = "api/redis_server.rs"]
#[expect(dead_code, reason = "tests of the API need more of it")]
mod redis_server;

use operator::Operator;
use redis_server::{DURABLE, RedisServer};

const BODY: &str = r#"{"to":"sara@example.com", "amount":1.50}"#;

/// An operator, and queues that nobody else has.
struct World {
    operator: Operator,
    letters: Letters,
    db: PgPool,
    _redis: RedisServer,
}

impl World {
    async fn new(db: PgPool) -> Self {
        let redis = RedisServer::start(DURABLE).await;
        let operator = Operator::new(&db, &redis.url(""));
        let link = Redis::new(&redis.url("").into()).unwrap();
        let letters = Letters::new(link, "dealix", Uuid::new_v4(), "test");
        Self { operator, letters, db, _redis: redis }
    }

    async fn push(&self, queue: Queue, id: &str, payload: Payload) {
        let letter = letter(id, payload);
        self.letters.push(queue, &letter, letter.created_at).await.unwrap();
    }

    /// Dead letters that carry events which nobody else has seen.
    async fn bury_events(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let event = json!({ "id": format!("e{number}"), "type": "balance_transferred" });
            let payload = Payload::Event {
                event_id: format!("e{number}"),
                event_type: None,
                received_at: morning(),
                body: event.to_string(),
            };
            let dead = letter(&format!("moyasar:{number}"), payload);
            self.letters.push_dead(Queue::Webhooks, &dead, morning()).await.unwrap();
        }
    }

    /// Who ordered what, and why, oldest first.
    async fn audited(&self) -> Vec<(String, String, String, Option<String>)> {
        let rows = "select actor, action, subject, reason from audit_log order by id";
        sqlx::query_as(rows).fetch_all(&self.db).await.unwrap()
    }
}

/// When the letters of these tests came.
fn morning() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn letter(id: &str, payload: Payload) -> Letter {
    // So many seconds later, that each has its place.
    let number: i64 = id.rsplit(':').next().unwrap().parse().unwrap();
    let came = morning() + TimeDelta::seconds(number);
    Letter {
        id: id.to_owned(),
        source: "mailer".to_owned(),
        error: "the mail server refused it\u{1b}[2J".to_owned(),
        error_class: "refused".to_owned(),
        attempt: 0,
        max_retries: 5,
        created_at: came,
        last_attempt_at: None,
        next_attempt_at: came,
        request_id: format!("request-of-{number}"),
        trace_id: None,
        payload,
        body_sha256: None,
        is_changed: false,
        original: None,
        extra: Extra::default(),
    }
}

fn job() -> Payload {
    Payload::Job { body: BODY.to_owned() }
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    words(&output.stdout).lines().map(str::to_owned).collect()
}

#[sqlx::test(migrations = "./migrations")]
async fn without_an_api_orders_are_carried_out_on_the_stores_and_audited(db: PgPool) {
    let world = World::new(db).await;
    let operator = &world.operator;
    for id in ["job:1", "job:2"] {
        world.push(Queue::Outbound, id, job()).await;
    }
    let depths = operator.run(&["dlq", "queues", "--json"]);
    let complaint = words(&depths.stderr);
    assert!(complaint.starts_with("the API at 127.0.0.1:1 is down: "), "{complaint:?}");
    assert!(complaint.ends_with("; working on the stores themselves\n"), "{complaint:?}");
    let depths: Value = serde_json::from_slice(&depths.stdout).unwrap();
    assert_eq!((&depths["queues"]["outbound"], &depths["total_depth"]), (&json!(2), &json!(2)));

    let shown = operator.json(&["dlq", "show", "outbound", "job:1", "--json"]);
    assert_eq!((&shown["is_redacted"], &shown["payload"]["amount"]), (&json!(true), &json!(1.5)));
    assert!(!shown.to_string().contains("sara@"), "{shown}");
    let revealed = ["dlq", "show", "outbound", "job:1", "--reveal", "--as", "night-shift"];
    let revealed = operator.run(&revealed);
    assert!(words(&revealed.stdout).ends_with(&format!("{BODY}\n")), "{revealed:?}");

    let paused = operator.json(&["dlq", "pause", "outbound", "--reason", "we mend it", "--json"]);
    assert_eq!(paused, json!({ "queue": "outbound", "paused": true }));
    let retried = operator.run(&["dlq", "retry", "outbound", "job:2"]);
    assert_eq!(
        (retried.status.code(), lines(&retried)[1].as_str()),
        (Some(1), "job:2  held     no_handler")
    );
    let deleted = operator.json(&["dlq", "delete", "outbound", "job:1", "--yes", "--json"]);
    assert_eq!((&deleted["id"], deleted["undo_until"].is_string()), (&json!("job:1"), true));
    let missing = operator.run(&["dlq", "show", "outbound", "job:1"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(words(&missing.stderr).contains("error: refused with 404 Not Found: "), "{missing:?}");
    let restored = operator.json(&["dlq", "restore", "outbound", "job:1", "--json"]);
    assert_eq!(restored, json!({ "queue": "outbound", "restored": 1 }));
    let resumed = operator.run(&["dlq", "resume", "outbound"]);
    assert_eq!(lines(&resumed), ["outbound is replayed by itself again"]);

    let row = |actor: &str, action: &str, subject: &str, reason: Option<&str>| {
        (actor.to_owned(), action.to_owned(), subject.to_owned(), reason.map(str::to_owned))
    };
    assert_eq!(
        world.audited().await,
        [
            row("shell:night-shift", "dlq.revealed", "outbound/job:1", None),
            row("shell:operator", "dlq.paused", "outbound", Some("we mend it")),
            row("shell:operator", "dlq.retried", "outbound/job:2", None),
            row("shell:operator", "dlq.deleted", "outbound/job:1", None),
            row("shell:operator", "dlq.restored", "outbound/job:1", None),
            row("shell:operator", "dlq.resumed", "outbound", None),
        ]
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn the_answers_are_the_same_with_an_api_and_without(db: PgPool) {
    let mut world = World::new(db).await;
    for id in ["job:1", "job:2", "job:3"] {
        world.push(Queue::Outbound, id, job()).await;
    }
    let dead = letter("job:4", job());
    world.letters.push_dead(Queue::Outbound, &dead, morning()).await.unwrap();
    // Nobody takes them meanwhile.
    world.operator.run(&["dlq", "pause", "outbound"]);
    let looks: [&[&str]; 7] = [
        &["dlq", "queues"],
        &["dlq", "list", "outbound"],
        &["dlq", "list", "outbound", "--limit", "2", "--state", "ready", "--older-than", "1h"],
        &["dlq", "show", "outbound", "job:4"],
        &["dlq", "peek", "outbound", "--limit", "1"],
        &["dlq", "groups", "outbound"],
        &["dlq", "drain", "outbound", "--dry-run"],
    ];
    let see_all = |operator: &Operator| {
        looks.map(|look| (operator.run(&[look, &["--json"]].concat()), operator.run(look)))
    };
    let without = see_all(&world.operator);
    let _instance = world.operator.serve();
    let with = see_all(&world.operator);
    for ((look, without), with) in looks.iter().zip(without).zip(with) {
        let said = |output: &Output| (output.status.code(), words(&output.stdout));
        assert_eq!(said(&with.0), said(&without.0), "{look:?}");
        assert_eq!(said(&with.1), said(&without.1), "{look:?}");
        let body: Value = serde_json::from_slice(&with.0.stdout).unwrap();
        assert!(body.is_object() && !with.1.stdout.is_empty());
        assert!(!words(&with.0.stderr).contains("stores"), "{with:?}");
    }
    // The same powers, and the audit knows whose.
    let drained = world.operator.json(&["dlq", "drain", "outbound", "--limit", "2", "--json"]);
    assert_eq!((&drained["processed"], &drained["held"]), (&json!(2), &json!(2)));
    let edited = ["dlq", "edit", "outbound", "job:4", "--from", "-", "--reason", "a typo"];
    let mut edit = world.operator.command(&edited);
    let mut edit = edit.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    edit.stdin.take().unwrap().write_all(br#"{"to":"noura@example.com", "amount":2.00}"#).unwrap();
    assert!(edit.wait().unwrap().success());
    let entry = world.operator.run(&["dlq", "show", "outbound", "job:4", "--reveal", "--json"]);
    let shown = words(&entry.stdout);
    assert!(shown.contains(r#""payload":{"to":"noura@example.com", "amount":2.00}"#), "{shown}");
    let orders = world.audited().await;
    let last: Vec<_> =
        orders.iter().rev().take(3).map(|row| (row.0.as_str(), row.1.as_str())).collect();
    let revealed = ("token:operator", "dlq.revealed");
    assert_eq!(
        last,
        [revealed, ("token:operator", "dlq.edited"), ("token:operator", "dlq.drained")]
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn people_read_tables_that_no_stranger_can_spoil(db: PgPool) {
    let world = World::new(db).await;
    for id in ["job:1", "job:2"] {
        world.push(Queue::Outbound, id, job()).await;
    }
    let listed = world.operator.run(&["dlq", "list", "outbound", "--limit", "1"]);
    let table = lines(&listed);
    assert_eq!(
        table,
        [
            "ID     STATE  CLASS    ATTEMPTS  CAME                  DUE  ERROR",
            "job:1  ready  refused  0/5       2026-01-02T03:04:06Z       the mail server refused it\u{fffd}[2J",
        ]
    );
    let complaint = words(&listed.stderr);
    let next = complaint.lines().last().unwrap();
    let cursor = next.strip_prefix("There may be more: --cursor ").unwrap();
    let rest = world.operator.run(&["dlq", "list", "outbound", "--cursor", cursor]);
    assert_eq!((lines(&rest).len(), &lines(&rest)[1][..5]), (2, "job:2"));
    let stats = lines(&world.operator.run(&["dlq", "stats"]));
    assert_eq!(stats.len(), 6);
    assert!(stats[2].starts_with("outbound    2      0          0          0"), "{stats:#?}");
}

#[sqlx::test(migrations = "./migrations")]
async fn everything_that_waits_is_drained_step_by_step_and_once(db: PgPool) {
    let world = World::new(db).await;
    for number in 0..205 {
        let body = json!({ "id": format!("e{number}"), "type": "balance_transferred", "data": {} });
        let payload = Payload::Event {
            event_id: format!("e{number}"),
            event_type: None,
            received_at: morning(),
            body: body.to_string(),
        };
        world.push(Queue::Webhooks, &format!("moyasar:{number}"), payload).await;
        world.push(Queue::Outbound, &format!("job:{number}"), job()).await;
    }
    let rehearsed = world.operator.run(&["dlq", "drain", "webhooks", "--all", "--dry-run"]);
    assert_eq!(rehearsed.status.code(), Some(0), "{rehearsed:?}");
    let sums = lines(&rehearsed);
    assert_eq!(sums.last().unwrap().split_whitespace().next(), Some("205"), "{sums:?}");

    let drained = world.operator.run(&["dlq", "drain", "webhooks", "--all", "--json"]);
    assert_eq!(drained.status.code(), Some(0), "{drained:?}");
    let steps: Vec<Value> =
        lines(&drained).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let processed: Vec<_> = steps.iter().map(|step| step["processed"].as_u64().unwrap()).collect();
    assert_eq!((processed, &steps[2]["remaining"]), (vec![100, 100, 5], &json!(0)));
    let stored: i64 = sqlx::query_scalar("select count(*) from webhook_events")
        .fetch_one(&world.db)
        .await
        .unwrap();
    assert_eq!(stored, 205);

    // Nobody does these yet: it does not go on in vain.
    let held = world.operator.run(&["dlq", "drain", "outbound", "--all"]);
    assert_eq!(held.status.code(), Some(1));
    let table = lines(&held);
    assert_eq!(table[0].split_whitespace().collect::<Vec<_>>(), ["ID", "OUTCOME", "ERROR"]);
    assert_eq!(table.last().unwrap(), "100        0          0          0     100   205");
    let complaint = words(&held.stderr);
    assert!(complaint.ends_with("stopped before the end: what they need is away\n"), "{complaint}");
}

#[sqlx::test(migrations = "./migrations")]
async fn a_redrive_is_started_followed_and_told_to_rest_with_an_api_and_without(db: PgPool) {
    let mut world = World::new(db).await;
    world.bury_events(0..30).await;
    let start =
        ["dlq", "redrive", "start", "webhooks", "--state", "dead", "--reason", "it is back"];
    let started = world.operator.run(&start);
    let complaint = words(&started.stderr);
    assert!(complaint.ends_with("it begins when one does, or with --follow\n"), "{complaint:?}");
    let id = lines(&started)[1].split_whitespace().next().unwrap().to_owned();
    for (word, status) in [("show", "running"), ("pause", "paused"), ("resume", "running")] {
        let told = world.operator.json(&["dlq", "redrive", word, "webhooks", &id, "--json"]);
        assert_eq!(told["status"], status, "{word}");
    }
    // Nobody else does it: whoever follows it does.
    let follow = ["dlq", "redrive", "show", "webhooks", &id, "--follow", "--json"];
    let told = |body: &Value| {
        ["status", "matched", "succeeded", "failed", "remaining"].map(|name| body[name].clone())
    };
    let complete = [json!("completed"), json!(30), json!(30), json!(0), json!(0)];
    assert_eq!(told(&world.operator.json(&follow)), complete);

    let _instance = world.operator.serve();
    world.bury_events(100..130).await;
    let more = ["--rate", "1000", "--one-first", "--follow", "--json"];
    let followed = world.operator.json(&[&start[..], &more].concat());
    assert_eq!(told(&followed), complete);
    let over = followed["id"].as_str().unwrap();
    let refused = world.operator.run(&["dlq", "redrive", "cancel", "webhooks", over]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused.stderr).contains("refused with 409"), "{refused:?}");
    let listed = lines(&world.operator.run(&["dlq", "redrive", "list", "webhooks"]));
    assert!(listed[1].starts_with(over) && listed[2].starts_with(&id), "{listed:#?}");
    let orders: Vec<_> = world.audited().await.into_iter().map(|row| (row.0, row.3)).collect();
    let why = Some("it is back".to_owned());
    assert_eq!(orders.first().unwrap(), &("shell:operator".to_owned(), why.clone()));
    assert_eq!(orders.last().unwrap(), &("token:operator".to_owned(), why));
}

#[sqlx::test(migrations = "./migrations")]
async fn what_destroys_asks_first(db: PgPool) {
    let world = World::new(db).await;
    for id in ["job:1", "job:2"] {
        world.push(Queue::Outbound, id, job()).await;
    }
    let depth = || world.operator.json(&["dlq", "queues", "--json"])["total_depth"].clone();
    let orders: [&[&str]; 2] =
        [&["dlq", "purge", "outbound"], &["dlq", "delete", "outbound", "job:1"]];
    for order in orders {
        let refused = world.operator.run(order);
        assert_eq!(refused.status.code(), Some(1));
        let complaint = words(&refused.stderr);
        assert!(complaint.ends_with(": --yes says that you mean it\n"), "{complaint:?}");
    }
    // Somebody at a terminal is asked.
    let typed = |word: &str| {
        let binary = env!("CARGO_BIN_EXE_dealix-api");
        let mut script = Command::new("script");
        let line = format!("{binary} dlq purge outbound --state ready");
        script.args(["-q", "-e", "-c", &line, "/dev/null"]);
        script.envs(world.operator.environment.iter().cloned());
        let shell = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdin.as_ref().unwrap().write_all(format!("{word}\n").as_bytes()).unwrap();
        let output = shell.wait_with_output().unwrap();
        (output.status.code(), words(&output.stdout))
    };
    let (code, said) = typed("webhooks");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("This deletes ready entries of outbound, 2 now. Type outbound"),
        "{said}"
    );
    assert!(said.contains("error: nothing was changed"), "{said}");
    assert_eq!(depth(), 2);
    let (code, said) = typed("outbound");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 entries are deleted; until "), "{said}");
    assert_eq!(depth(), 0);
    let restored = world.operator.run(&["dlq", "restore", "outbound"]);
    assert_eq!(lines(&restored), ["2 entries are there again"]);
    let purged = world.operator.json(&["dlq", "purge", "outbound", "--yes", "--json"]);
    assert_eq!(purged["purged"], 2);
}

#[sqlx::test(migrations = "./migrations")]
async fn what_cannot_be_done_says_why(db: PgPool) {
    let operator = Operator::new(&db, "redis://127.0.0.1:1");
    let unknown = operator.run(&["dlq", "list", "payments"]);
    assert_eq!(unknown.status.code(), Some(2));
    let complaint = words(&unknown.stderr);
    let known = "[possible values: webhooks, outbound, enrichment, analytics, crm_sync]";
    assert!(complaint.contains(known), "{complaint}");
    for wrong in [
        &["dlq", "drain", "webhooks", "--limit", "101"][..],
        &["dlq", "drain", "webhooks", "--limit", "5", "--all"],
        &["dlq", "purge", "webhooks", "--state", "in_flight"],
        &["dlq", "pause", "webhooks", "--reason", " "],
    ] {
        assert_eq!(operator.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    // A queue that cannot be asked is never an empty one.
    for looked in ["queues", "stats"] {
        let away = operator.run(&["dlq", looked]);
        assert_eq!((away.status.code(), away.stdout.as_slice()), (Some(1), &b""[..]));
        let complaint = words(&away.stderr);
        assert!(complaint.contains("error: refused with 503 Service Unavailable: "), "{complaint}");
    }
}
