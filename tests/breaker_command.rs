//! `dealix-api breaker`, the real binary: with an instance that answers, and without one.

#![expect(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use sqlx::{ConnectOptions, PgPool};

const JWT_SECRET: &str = "jwt-secret-for-tests-0123456789abcdef";

struct Operator {
    environment: Vec<(&'static str, String)>,
    folder: std::path::PathBuf,
}

impl Operator {
    fn new(db: &PgPool) -> Self {
        let environment = vec![
            ("APP_ENV", "test".to_owned()),
            ("DATABASE_URL", db.connect_options().to_url_lossy().into()),
            ("REDIS_URL", "redis://127.0.0.1:1".to_owned()),
            ("JWT_SECRET_KEY", JWT_SECRET.to_owned()),
            ("ADMIN_API_KEYS", "admin-key-for-tests-0123456789abcdef".to_owned()),
            ("METRICS_ADDR", String::new()),
            ("APP_PORT", "1".to_owned()),
        ];
        // Without a `.env` of anybody's.
        Self { environment, folder: std::env::temp_dir() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dealix-api"));
        command.args(arguments).env_clear().envs(self.environment.iter().cloned());
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// A running instance, killed with its test.
struct Instance(Child);

impl Drop for Instance {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn operators_hold_breakers_from_the_shell_also_when_no_instance_runs(db: PgPool) {
    let operator = Operator::new(&db);
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
    let silent = operator.run(&["breaker", "open", "moyasar", "--ttl", "1h", "--reason", " "]);
    assert_eq!(silent.status.code(), Some(1));
}

#[sqlx::test(migrations = "./migrations")]
async fn the_list_shows_what_the_instance_of_this_machine_sees(db: PgPool) {
    let mut operator = Operator::new(&db);
    operator.environment.last_mut().unwrap().1 = "0".to_owned();
    let mut child = operator.command(&["serve"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let _instance = Instance(child);
    let mut line = String::new();
    while !line.contains("listening on ") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it ended");
    }
    let port = line.trim_end().rsplit(':').next().unwrap();
    operator.environment.last_mut().unwrap().1 = port.trim_end_matches(['"', '}']).to_owned();

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
