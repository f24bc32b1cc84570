//! The real binary, as an operator meets it: its command line, its settings, its start and its end.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    reason = "the helpers of tests may panic as tests do"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use sqlx::{ConnectOptions, PgPool};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use uuid::Uuid;

/// Nothing in these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stores that nobody runs.
const NO_DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://dealix@127.0.0.1:1/dealix");
const NO_REDIS: (&str, &str) = ("REDIS_URL", "redis://127.0.0.1:1/0");

const JWT_SECRET_KEY: (&str, &str) = ("JWT_SECRET_KEY", "jwt-0123456789abcdef0123456789abcdef");

/// Everything production asks for.
const PRODUCTION: &[(&str, &str)] = &[
    ("APP_ENV", "production"),
    NO_DATABASE,
    NO_REDIS,
    JWT_SECRET_KEY,
    ("ADMIN_API_KEYS", "admin-0123456789abcdef0123456789abcdef"),
    ("MOYASAR_SECRET_KEY", "sk_live_hunter2"),
    ("MOYASAR_WEBHOOK_SECRET", "hook-0123456789abcdef0123456789abcdef"),
];

/// An empty working directory, and a binary that knows nothing but what a test tells it.
struct Operator {
    folder: PathBuf,
}

impl Operator {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("dealix-smoke-{}", Uuid::new_v4().simple()));
        fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dealix-api"));
        command.args(arguments).env_clear().envs(environment.iter().copied());
        command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Answer {
        let output = self.command(arguments, environment).output();
        Answer::from(tokio::time::timeout(PATIENCE, output).await.unwrap().unwrap())
    }

    /// Starts `serve` on a free port and waits until it says where it listens.
    async fn serve(&self, environment: &[(&str, &str)]) -> Service {
        let ports = [("APP_PORT", "0"), ("METRICS_ADDR", "")];
        let environment = [&ports, environment].concat();
        let mut command = self.command(&["serve"], &environment);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut service = Service { child, lines, address: String::new(), said: Vec::new() };
        let line = service.wait_for("listening on http://").await;
        let address = line.split_once("listening on http://").unwrap().1;
        let end = address.find(|letter: char| !matches!(letter, '0'..='9' | '.' | ':'));
        address[..end.unwrap_or(address.len())].clone_into(&mut service.address);
        service
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// What a command that ended has said.
#[derive(Debug)]
struct Answer {
    code: i32,
    said: String,
    complained: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            said: String::from_utf8(output.stdout).unwrap(),
            complained: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A running `serve`.
struct Service {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: String,
    said: Vec<String>,
}

impl Service {
    async fn wait_for(&mut self, words: &str) -> String {
        let found = async {
            loop {
                let line = self.lines.next_line().await.unwrap();
                let line =
                    line.unwrap_or_else(|| panic!("ended without `{words}`: {:?}", self.said));
                self.said.push(line.clone());
                if line.contains(words) {
                    return line;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// Head and body of the answer to a request with these headers.
    async fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = self.connect().await;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: dealix.me\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(stream).await
    }

    /// A request in flight: its head was accepted, of its body only the first byte was sent.
    async fn begin_post(&self, path: &str, length: usize) -> TcpStream {
        let mut stream = self.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: dealix.me\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server asks for the body as soon as a handler waits for it.
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"{").await.unwrap();
        stream
    }

    async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    }

    /// Exit code, and everything that was still said.
    async fn end(mut self) -> (i32, Vec<String>) {
        let end = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said.push(line);
            }
            self.child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(PATIENCE, end).await.unwrap();
        (status.code().unwrap(), self.said)
    }
}

async fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let end = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap();
    answer
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.said).unwrap()
}

fn scratch_url(db: &PgPool) -> String {
    db.connect_options().to_url_lossy().into()
}

#[tokio::test]
async fn production_with_three_mistakes_names_all_three_and_does_not_start() {
    let mistakes = [
        ("JWT_SECRET_KEY", "hunter2"),
        ("ADMIN_API_KEYS", "changeme"),
        ("DATABASE_MAX_CONNECTIONS", "many"),
    ];
    let environment = [PRODUCTION, &mistakes].concat();
    let operator = Operator::new();
    for (arguments, code) in
        [(&["check-config"][..], 1), (&["serve"], 78), (&[], 78), (&["migrate", "up"], 78)]
    {
        let answer = operator.run(arguments, &environment).await;
        assert_eq!(answer.code, code, "{arguments:?}");
        let text = answer.said + &answer.complained;
        for (name, _) in mistakes {
            assert!(text.contains(&format!("  {name}: ")), "{arguments:?}: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn check_config_shows_where_each_value_came_from_and_no_secret() {
    let operator = Operator::new();
    operator.write(".env", "APP_PORT=8002\nDLQ_MAX_RETRIES=7\nPOSTHOG_API_KEY=\"phc_hunter2\"\n");
    let credentials = operator.write("credentials/MOYASAR_SECRET_KEY", "sk_live_hunter2\n");
    let file = include_str!("../config/default.toml");
    operator.write("config/default.toml", file);
    let folder = operator.write(
        "config/production.toml",
        "[http]\ndrain_secs = 4\n[app]\nurl = \"https://dealix.me\"",
    );
    let environment = [
        PRODUCTION,
        &[
            ("APP_PORT", "8003"),
            ("CREDENTIALS_DIRECTORY", credentials.parent().unwrap().to_str().unwrap()),
            ("CONFIG_DIR", folder.parent().unwrap().to_str().unwrap()),
        ],
    ]
    .concat();
    let answer = operator.run(&["--json", "check-config"], &environment).await;
    assert_eq!(answer.code, 0, "{answer:?}");
    assert!(!format!("{answer:?}").contains("hunter2"));
    let settings = json(&answer)["settings"].take();
    let of = |key: &str| {
        let setting = settings.as_array().unwrap().iter().find(|setting| setting["key"] == key);
        setting.map(|setting| (setting["value"].clone(), setting["from"].clone())).unwrap()
    };
    let pair = |value: &str, from: &str| (Value::from(value), Value::from(from));
    assert_eq!(of("app.port"), pair("8003", "environment"));
    assert_eq!(of("dlq.max_retries"), pair("7", ".env"));
    assert_eq!(of("http.drain_secs"), pair("4", "production.toml"));
    assert_eq!(of("http.shutdown_secs"), pair("25", "default.toml"));
    assert_eq!(of("app.url"), pair("https://dealix.me/", "production.toml"));
    assert_eq!(of("moyasar.secret_key"), pair("[redacted]", "credentials"));
    assert_eq!(of("posthog.api_key"), pair("[redacted]", ".env"));
    let people = operator.run(&["check-config"], &environment).await;
    assert!(people.said.contains("The configuration can be used (production)."));
    assert!(!people.said.contains("hunter2"));
}

#[tokio::test]
async fn a_credential_that_cannot_be_used_is_told_without_its_text() {
    let operator = Operator::new();
    operator.write(".env", "APP_PORT=8002\nPOSTHOG_API_KEY='hunter2\n");
    let folder = operator.folder.join("nowhere");
    let answer = operator.run(&["check-config"], &[("CONFIG_DIR", folder.to_str().unwrap())]).await;
    assert_eq!(answer.code, 1);
    assert!(answer.said.contains("CONFIG_DIR: must be a folder with a default.toml"), "{answer:?}");
    assert!(
        answer.said.contains(".env: the line `POSTHOG_API_KEY=…` cannot be read"),
        "{answer:?}"
    );
    assert!(!answer.said.contains("hunter2"));
}

#[tokio::test]
async fn the_printed_references_are_the_committed_files() {
    let operator = Operator::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (flag, file) in [("--example", ".env.example"), ("--reference", "docs/configuration.md")] {
        let answer = operator.run(&["check-config", flag], &[]).await;
        assert_eq!((answer.code, answer.said), (0, fs::read_to_string(root.join(file)).unwrap()));
    }
}

#[tokio::test]
async fn every_command_explains_itself_with_an_example() {
    let operator = Operator::new();
    for command in [
        &["serve"][..],
        &["migrate", "up"],
        &["migrate", "down"],
        &["migrate", "status"],
        &["check-config"],
        &["openapi"],
        &["token", "issue"],
        &["healthcheck"],
        &[],
    ] {
        let answer = operator.run(&[command, &["--help"]].concat(), &[]).await;
        assert_eq!(answer.code, 0);
        assert!(answer.said.contains("Example"), "{command:?}: {}", answer.said);
        assert!(answer.said.contains(&format!("dealix-api {}", command.join(" "))), "{command:?}");
    }
    assert_eq!(operator.run(&["sell"], &[]).await.code, 2);
}

#[test]
fn only_a_test_build_can_kill_itself() {
    let binary = fs::read(env!("CARGO_BIN_EXE_dealix-api")).unwrap();
    let hook = b"DEALIX_DIES_AT";
    let has_hooks = binary.windows(hook.len()).any(|window| window == hook);
    assert_eq!(has_hooks, cfg!(feature = "faults"));
}

#[tokio::test]
async fn openapi_is_printed_without_any_settings() {
    let answer = Operator::new().run(&["openapi"], &[("APP_ENV", "nonsense")]).await;
    assert_eq!(answer.code, 0);
    let document = json(&answer);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert!(document["paths"]["/health"]["get"].is_object());
}

#[sqlx::test(migrations = false)]
async fn migrations_go_up_one_step_down_and_are_listed(db: PgPool) {
    let (operator, url) = (Operator::new(), scratch_url(&db));
    let environment = [("DATABASE_URL", url.as_str())];
    let counts = async || {
        let status = json(&operator.run(&["migrate", "status", "--json"], &environment).await);
        ["applied", "pending", "unknown", "changed"]
            .map(|list| status[list].as_array().unwrap().len())
    };
    let [_, all, ..] = counts().await;
    assert!(all > 0);
    let up = operator.run(&["migrate", "up"], &environment).await;
    assert_eq!((up.code, up.said.lines().count()), (0, all), "{up:?}");
    assert_eq!(counts().await, [all, 0, 0, 0]);
    let again = operator.run(&["migrate", "up"], &environment).await;
    assert_eq!((again.code, again.said.as_str()), (0, "nothing to be applied\n"));
    let down = operator.run(&["migrate", "down"], &environment).await;
    assert_eq!((down.code, down.said.lines().count()), (0, 1), "{down:?}");
    assert_eq!(counts().await, [all - 1, 1, 0, 0]);

    let steps = ["migrate", "down", "--steps", "2"];
    let refused = operator.run(&steps, &environment).await;
    assert_eq!(refused.code, 1);
    assert!(refused.complained.contains("--yes-i-have-approval"));
    assert_eq!(counts().await, [all - 1, 1, 0, 0]);
    let approved = [&steps[..], &["--yes-i-have-approval", "--json"]].concat();
    let approved = operator.run(&approved, &environment).await;
    assert_eq!(json(&approved)["taken_back"].as_array().unwrap().len(), 2);
    assert_eq!(counts().await, [all - 3, 3, 0, 0]);
}

#[tokio::test]
async fn a_migration_without_postgres_fails_and_says_why() {
    let answer = Operator::new().run(&["migrate", "up"], &[NO_DATABASE]).await;
    assert_eq!(answer.code, 1);
    assert!(answer.complained.starts_with("error: Postgres cannot be reached: "), "{answer:?}");
}

#[tokio::test]
async fn an_issued_token_opens_what_its_scope_allows() {
    let operator = Operator::new();
    let issue = ["token", "issue", "--ttl", "5m", "--scope", "admin:read"];
    let token = operator.run(&issue, &[JWT_SECRET_KEY]).await;
    assert_eq!(token.code, 0, "{token:?}");
    let service = operator.serve(&[NO_DATABASE, NO_REDIS, JWT_SECRET_KEY]).await;
    let path = "/api/v1/admin/circuit-breakers";
    let bearer = format!("Authorization: Bearer {}\r\n", token.said.trim_end());
    let answer = service.get(path, &bearer).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = service.get(path, "").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_token_is_not_signed_with_a_secret_that_nobody_else_knows() {
    let answer = Operator::new().run(&["token", "issue"], &[]).await;
    assert_eq!((answer.code, answer.said.as_str()), (1, ""));
    assert!(answer.complained.contains("JWT_SECRET_KEY is not set"));
}

#[tokio::test]
async fn serve_starts_without_its_stores_and_stops_when_asked() {
    let operator = Operator::new();
    for (signal, environment) in [("TERM", PRODUCTION), ("INT", &[NO_DATABASE, NO_REDIS])] {
        let service = operator.serve(environment).await;
        let answer = service.get("/health", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let url = format!("http://{}/health", service.address);
        let healthcheck = operator.run(&["healthcheck", "--url", &url], &[]).await;
        assert_eq!((healthcheck.code, healthcheck.said.as_str()), (0, "200\n"));

        // A connection that is kept alive and idle must not keep the process alive.
        let mut idle = service.connect().await;
        idle.write_all(b"GET /health HTTP/1.1\r\nHost: dealix.me\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        idle.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        service.signal(signal).await;
        let began = tokio::time::Instant::now();
        let (code, said) = service.end().await;
        assert_eq!(code, 0, "{said:?}");
        assert!(began.elapsed() < Duration::from_secs(25));
        assert!(
            said.iter().any(|line| line.contains(&format!("Stopping: SIG{signal}"))),
            "{said:?}"
        );

        let healthcheck = operator.run(&["healthcheck", "--url", &url], &[]).await;
        assert_eq!(healthcheck.code, 1, "{healthcheck:?}");
    }
}

#[tokio::test]
async fn status_asks_the_api_and_while_that_is_down_the_stores() {
    let operator = Operator::new();
    let settings = [NO_DATABASE, NO_REDIS, JWT_SECRET_KEY];
    let service = operator.serve(&settings).await;
    let port = service.address.rsplit_once(':').unwrap().1.to_owned();
    let settings = [&settings[..], &[("APP_PORT", &port)]].concat();
    let up = operator.run(&["status", "--json"], &settings).await;
    assert_eq!(up.code, 1, "{up:?}");
    assert!(up.said.contains("\"kind\":\"postgres_away\"") && !up.said.contains("api_down"));
    drop(service);
    let down = operator.run(&["status", "--lang", "ar"], &settings).await;
    assert!(down.said.starts_with("عدد المشكلات 3"), "{down:?}");
    assert!(down.said.ends_with("الخطوة التالية: sudo systemctl restart dealix-api\n"), "{down:?}");
    assert_eq!(operator.run(&["status"], &[NO_DATABASE, NO_REDIS]).await.code, 2);
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let operator = Operator::new();
    let mut service = operator.serve(&[NO_DATABASE, NO_REDIS]).await;
    let mut request = service.begin_post("/api/v1/pricing/checkout", 2).await;
    service.signal("TERM").await;
    service.wait_for("Stopping: SIGTERM").await;
    request.write_all(b"}").await.unwrap();
    let answer = read_to_end(request).await;
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(service.end().await.0, 0);
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off_and_a_second_signal_does_not_wait_for_it() {
    let operator = Operator::new();
    let service = operator.serve(&[NO_DATABASE, NO_REDIS]).await;
    let _request = service.begin_post("/api/v1/pricing/checkout", 2).await;
    service.signal("TERM").await;
    assert_eq!(service.end().await.0, 0);

    let mut service = operator.serve(&[NO_DATABASE, NO_REDIS]).await;
    let _request = service.begin_post("/api/v1/pricing/checkout", 2).await;
    service.signal("TERM").await;
    service.wait_for("Stopping: SIGTERM").await;
    service.signal("TERM").await;
    assert_eq!(service.end().await.0, 130);
}

#[tokio::test]
async fn development_prints_what_it_made_up_and_the_key_works() {
    let operator = Operator::new();
    let service = operator.serve(&[NO_DATABASE, NO_REDIS]).await;
    let made_up = |name: &str| {
        let prefix = format!("made up for this run: {name}=");
        service.said.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
    };
    assert_ne!(made_up("JWT_SECRET_KEY"), made_up("MOYASAR_WEBHOOK_SECRET"));
    let key = format!("X-API-Key: {}\r\n", made_up("ADMIN_API_KEYS"));
    let answer = service.get("/api/v1/admin/circuit-breakers", &key).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let environment = [NO_DATABASE, NO_REDIS, ("APP_PORT", &port)];
    let answer = Operator::new().run(&["serve"], &environment).await;
    assert_eq!(answer.code, 1);
    let words = format!("error: cannot listen on 127.0.0.1:{port} (APP_HOST and APP_PORT): ");
    assert!(answer.complained.starts_with(&words), "{answer:?}");
}

#[tokio::test]
async fn production_speaks_json_on_standard_output() {
    let operator = Operator::new();
    let service = operator.serve(PRODUCTION).await;
    service.signal("TERM").await;
    let (_, said) = service.end().await;
    for line in &said {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string(), "{line}");
    }
}
