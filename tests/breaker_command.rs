//! `dealix-api breaker`, the real binary: with an instance that answers, and without one.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

use serde_json::{Value, json};
use sqlx::PgPool;

mod operator;

use operator::Operator;

/// Breakers need no Redis.
const NO_REDIS: &str = "redis://127.0.0.1:1";

#[sqlx::test(migrations = "./migrations")]
async fn operators_hold_breakers_from_the_shell_also_when_no_instance_runs(db: PgPool) {
    let operator = Operator::new(&db, NO_REDIS);
    let told =
        operator.run(&["breaker", "open", "moyasar", "--ttl", "1h", "--reason", "they asked"]);
    let words = String::from_utf8(told.stdout).unwrap();
    assert!(words.starts_with("moyasar is held open until 2"), "{words:?}");

    let listed = operator.json(&["breaker", "list", "--json"]);
    let moyasar = &listed["breakers"]["moyasar"];
    assert_eq!((&moyasar["state"], &moyasar["forced"]), (&Value::Null, &json!("open")));
    assert_eq!(
        (&moyasar["by"], &moyasar["reason"]),
        (&json!("shell:operator"), &json!("they asked"))
    );
    assert_eq!(listed["breakers"]["posthog"]["forced"], Value::Null);

    let reset = operator.json(&["breaker", "reset", "moyasar", "--as", "night-shift", "--json"]);
    assert_eq!((&reset["name"], &reset["forced"]), (&json!("moyasar"), &Value::Null));
    let rows: Vec<(String, String)> =
        sqlx::query_as("select actor, action from audit_log order by id")
            .fetch_all(&db)
            .await
            .unwrap();
    let expected = [("shell:operator", "breaker.opened"), ("shell:night-shift", "breaker.reset")];
    assert_eq!(rows, expected.map(|(actor, action)| (actor.to_owned(), action.to_owned())));

    let unknown = operator.run(&["breaker", "reset", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
    let complaint = String::from_utf8(unknown.stderr).unwrap();
    assert!(complaint.contains("there are moyasar, posthog"), "{complaint:?}");
    let too_long = operator.run(&["breaker", "open", "moyasar", "--ttl", "25h", "--reason", "why"]);
    assert_eq!(too_long.status.code(), Some(2));
    for reason in [" ", "x".repeat(1001).as_str()] {
        let said = operator.run(&["breaker", "open", "moyasar", "--ttl", "1h", "--reason", reason]);
        let complaint = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(1), "{reason:?}");
        assert!(complaint.contains("a reason has 1 to 1000 characters"), "{complaint:?}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn the_list_shows_what_the_instance_of_this_machine_sees(db: PgPool) {
    let mut operator = Operator::new(&db, NO_REDIS);
    let _instance = operator.serve();
    let listed = operator.json(&["breaker", "list", "--json"]);
    for name in ["moyasar", "posthog"] {
        assert_eq!(listed["breakers"][name]["state"], "closed");
    }
    let table = operator.run(&["breaker", "list"]);
    let lines = String::from_utf8(table.stdout).unwrap();
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines[0], "NAME     STATE   HELD  UNTIL  BY  REASON");
    assert_eq!(lines[1], "moyasar  closed  -     -      -   -");
    assert_eq!(table.stderr, b"", "nothing to complain about");
}
