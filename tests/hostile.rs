//! The real binary among clients that mean no good. However many there are and whatever they withhold:
//! genuine webhooks and health probes are answered. Deadlines here only catch what hangs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a step that fails should fail the test"
)]

#[path = "api/proxy.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod proxy;
#[path = "api/redis_server.rs"]
#[expect(dead_code, reason = "shared with the tests of the API, which ask it for more")]
mod redis_server;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sqlx::PgPool;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::proxy::Proxy;
use crate::redis_server::{DURABLE, RedisServer};

/// No answer takes this long unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a slow client waits for an answer before it sends its next byte.
const TRICKLE: Duration = Duration::from_millis(100);

/// Whoever is honest, and whoever is not.
const HONEST: &str = "127.0.0.1:0";
const HOSTILE: &str = "127.0.0.2:0";

const WEBHOOK_SECRET: &str = "webhook-secret-for-tests-0123456789abcdef";

/// The most memory that the process may ever have taken.
const MEMORY_LIMIT_KIB: u64 = 300 * 1024;

#[sqlx::test(migrations = "./migrations")]
async fn a_crowd_that_comes_back_at_once_keeps_nobody_else_out(db: PgPool) {
    let service = Service::start(&db, "max_connections = 20").await;
    let (address, thrown_out) = (service.address, Arc::<AtomicUsize>::default());
    let mut crowd = JoinSet::new();
    for number in 0..450 {
        let request = ["", "GET / HTTP/1.1\r\nX-Slow: ", TRICKLED][number % 3];
        let thrown_out = Arc::clone(&thrown_out);
        crowd.spawn(async move {
            loop {
                if let Ok(stream) = connect(HOSTILE, address).await {
                    trickle(stream, request).await;
                    thrown_out.fetch_add(1, Ordering::Relaxed);
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let genuine = async {
        let mut rounds = 0;
        // Until everybody has been thrown out several times.
        while rounds < 100 || thrown_out.load(Ordering::Relaxed) < 2_000 {
            service.is_well(rounds).await;
            rounds += 1;
        }
    };
    tokio::time::timeout(2 * PATIENCE, genuine).await.expect("the crowd was never thrown out");
    crowd.shutdown().await;
    assert!(service.peak_kib().await < MEMORY_LIMIT_KIB);
}

#[sqlx::test(migrations = "./migrations")]
async fn thousands_who_say_nothing_and_hundreds_who_dawdle_or_forge_disturb_nobody(db: PgPool) {
    let settings = "header_timeout_secs = 5\nbody_timeout_secs = 3";
    let service = Service::start(&db, settings).await;
    let address = service.address;
    // From where the honest come: behind a proxy everybody has one address.
    let mut silent = Vec::new();
    for _ in 0..idle_connections() {
        silent.push(connect(HONEST, address).await.unwrap());
    }
    let mut slow = JoinSet::new();
    for _ in 0..100 {
        slow.spawn(async move {
            let stream = connect(HONEST, address).await.unwrap();
            let end = trickle(stream, "GET /health HTTP/1.1\r\nHost: a\r\nX-Slow: ").await;
            assert!(!end.contains(" 200 "), "{end}");
        });
    }
    for _ in 0..50 {
        slow.spawn(async move {
            let stream = connect(HONEST, address).await.unwrap();
            let end = trickle(stream, TRICKLED).await;
            assert!(end.starts_with("HTTP/1.1 408 "), "{end}");
            assert!(end.contains("client-too-slow"), "{end}");
        });
    }
    let (mut forging, forged) = (JoinSet::new(), Arc::<AtomicUsize>::default());
    for _ in 0..8 {
        let forged = Arc::clone(&forged);
        forging.spawn(async move {
            loop {
                let answer = ask(address, &webhook("a-guess", Uuid::new_v4())).await;
                assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
                forged.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut rounds = 0;
    while !slow.is_empty() || rounds < 100 {
        service.is_well(rounds).await;
        rounds += 1;
        while let Some(ended) = slow.try_join_next() {
            ended.unwrap();
        }
        if let Some(ended) = forging.try_join_next() {
            ended.unwrap();
        }
    }
    forging.shutdown().await;
    assert!(forged.load(Ordering::Relaxed) > 0);
    assert!(service.peak_kib().await < MEMORY_LIMIT_KIB);
    for stream in silent {
        let end = tokio::time::timeout(PATIENCE, trickle(stream, "")).await.expect("still open");
        assert_eq!(end, "", "who says nothing is told nothing");
    }
    let stored: i64 =
        sqlx::query_scalar("select count(*) from webhook_events").fetch_one(&db).await.unwrap();
    assert!(stored <= rounds, "nothing but what was genuine: {stored} of {rounds}");
}

/// The beginning of a request whose body does not come.
const TRICKLED: &str =
    "POST /api/v1/webhooks/moyasar HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{";

/// A running `serve` with stores of its own.
struct Service {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
    _postgres: Proxy,
    _redis: RedisServer,
}

impl Service {
    /// Starts it with some settings of its HTTP side.
    async fn start(db: &PgPool, settings: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("dealix-hostile-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let defaults = include_str!("../config/default.toml");
        std::fs::write(folder.join("default.toml"), defaults).unwrap();
        std::fs::write(folder.join("test.toml"), format!("[http]\n{settings}\n")).unwrap();
        let redis = RedisServer::start(DURABLE).await;
        let (postgres, postgres_url) = Proxy::to_postgres(db).await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_dealix-api"));
        command.arg("serve").env_clear().current_dir(&folder);
        command.env("APP_ENV", "test").env("CONFIG_DIR", &folder).env("APP_LOG_LEVEL", "error");
        command.env("APP_PORT", "0").env("METRICS_ADDR", "").env("RATELIMIT_ENABLED", "false");
        command.env("DATABASE_URL", postgres_url).env("REDIS_URL", redis.url(""));
        command.env("MOYASAR_WEBHOOK_SECRET", WEBHOOK_SECRET);
        command.env("JWT_SECRET_KEY", "jwt-secret-for-tests-0123456789abcdef");
        command.env("ADMIN_API_KEYS", "admin-key-for-tests-0123456789abcdef");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("it did not start");
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().parse().unwrap();
            }
        };
        Self { child, address, folder, _postgres: postgres, _redis: redis }
    }

    /// A genuine webhook and a probe, at the same time, each over a connection of its own.
    async fn is_well(&self, round: i64) {
        let genuine = webhook(WEBHOOK_SECRET, Uuid::from_u128(round.try_into().unwrap()));
        let probe = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let (taken, probed) = tokio::join!(ask(self.address, &genuine), ask(self.address, probe));
        // `ok`, or `dlq` where this machine was too busy for Postgres: durable, in any case.
        assert!(taken.starts_with("HTTP/1.1 200 "), "{taken}");
        assert!(probed.starts_with("HTTP/1.1 200 "), "{probed}");
    }

    async fn peak_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id().unwrap());
        let status = tokio::fs::read_to_string(status).await.unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// How many idle connections this machine allows us, up to the 5,000 that are wanted.
fn idle_connections() -> u64 {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(5_000, |files| files.saturating_sub(1_000).min(5_000))
}

fn webhook(secret: &str, id: Uuid) -> String {
    let body = format!(
        r#"{{"id":"{id}","type":"payment_paid","live":false,"secret_token":"{secret}","data":{{"id":"{id}"}}}}"#
    );
    let length = body.len();
    format!(
        "POST /api/v1/webhooks/moyasar HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

async fn connect(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if from == HOSTILE {
        socket.bind(from.parse().unwrap())?;
    }
    socket.connect(to).await
}

/// The whole answer to a request over a connection of its own.
async fn ask(address: SocketAddr, request: &str) -> String {
    let asking = async {
        let mut stream = connect(HONEST, address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("no answer")
}

/// Begins a request, sends a byte whenever nothing has come for a while, and gives what was answered
/// until the service hung up. Whoever begins nothing sends nothing.
async fn trickle(mut stream: TcpStream, beginning: &str) -> String {
    let mut answer = Vec::new();
    let mut is_open = stream.write_all(beginning.as_bytes()).await.is_ok();
    while is_open {
        is_open = match tokio::time::timeout(TRICKLE, stream.read_buf(&mut answer)).await {
            Ok(read) => read.is_ok_and(|count| count > 0),
            Err(_) if beginning.is_empty() => true,
            Err(_) => stream.write_all(b"a").await.is_ok(),
        };
    }
    String::from_utf8(answer).unwrap()
}
