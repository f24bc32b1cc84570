//! A way to a store that can be frozen: it accepts connections and passes nothing on, as a store
//! does that hangs or a network that is cut.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::PgPool;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

/// Where the store really is.
#[derive(Clone)]
enum Store {
    Socket(PathBuf),
    Tcp(String),
}

/// What passes.
#[derive(Clone, Copy, Default)]
struct Weather {
    is_frozen: bool,
    /// Connections made before this many freezes were survived are dead, though nobody says so.
    lost_before: u64,
    freezes: u64,
    /// Freezes as soon as this is on its way.
    freezes_at: Option<&'static str>,
}

/// Listens on a port of its own, for as long as it lives.
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    asked: Arc<AtomicU64>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// In front of the Postgres of this test, with the URL of the test's database through it.
    pub async fn to_postgres(db: &PgPool) -> (Self, String) {
        let options = db.connect_options();
        let store = match options.get_socket() {
            Some(folder) => Store::Socket(folder.join(format!(".s.PGSQL.{}", options.get_port()))),
            None => Store::Tcp(format!("{}:{}", options.get_host(), options.get_port())),
        };
        let proxy = Self::to(store).await;
        let mut url: Url = variable("DATABASE_URL").parse().unwrap();
        let user = url.query_pairs().find(|(name, _)| name == "user").map(|(_, user)| user);
        let user = user.map_or_else(|| options.get_username().to_owned(), String::from);
        let database = options.get_database().unwrap().to_owned();
        let password = url.password().map(str::to_owned);
        url = format!("postgres://127.0.0.1:{}/{database}?sslmode=disable", proxy.port)
            .parse()
            .unwrap();
        url.set_username(&user).unwrap();
        url.set_password(password.as_deref()).unwrap();
        (proxy, url.into())
    }

    /// In front of the Redis of the test run, with the URL through it.
    pub async fn to_redis() -> (Self, String) {
        Self::to_redis_at(&variable("REDIS_URL")).await
    }

    /// In front of any Redis, with the URL through it.
    pub async fn to_redis_at(url: &str) -> (Self, String) {
        let url: Url = url.parse().unwrap();
        let store = match url.host_str() {
            Some(host) if !host.is_empty() => {
                Store::Tcp(format!("{host}:{}", url.port().unwrap_or(6379)))
            }
            _ => Store::Socket(url.path().into()),
        };
        let proxy = Self::to(store).await;
        let url = format!("redis://127.0.0.1:{}", proxy.port);
        (proxy, url)
    }

    async fn to(store: Store) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = watch::Sender::new(Weather::default());
        let seen = weather.clone();
        let asked = Arc::<AtomicU64>::default();
        let mut accepting = JoinSet::new();
        let count = Arc::clone(&asked);
        accepting.spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                relays.spawn(connect(client, store.clone(), seen.clone(), Arc::clone(&count)));
            }
        });
        Self { port, weather, asked, _accepting: accepting }
    }

    /// From now on nothing passes, in either direction; connections are still accepted.
    pub fn freeze(&self) {
        self.weather.send_modify(|weather| {
            weather.is_frozen = true;
            weather.freezes += 1;
        });
    }

    /// As soon as somebody says this, in one piece, nothing passes any more, that included.
    pub fn freeze_at(&self, words: &'static str) {
        self.weather.send_modify(|weather| weather.freezes_at = Some(words));
    }

    /// Everything passes again, what was held back first.
    pub fn thaw(&self) {
        self.weather.send_modify(|weather| weather.is_frozen = false);
    }

    /// New connections pass again; nothing ever passes on those made until now, and nobody says so.
    pub fn thaw_for_new_connections(&self) {
        self.weather.send_modify(|weather| {
            weather.is_frozen = false;
            weather.freezes += 1;
            weather.lost_before = weather.freezes;
        });
    }

    /// How often something was sent towards the store.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn connect(
    client: TcpStream,
    store: Store,
    weather: watch::Sender<Weather>,
    asked: Arc<AtomicU64>,
) {
    let (client_reads, client_writes) = client.into_split();
    match store {
        Store::Socket(path) => {
            let Ok(store) = UnixStream::connect(path).await else { return };
            let (reads, writes) = store.into_split();
            let back = Arc::default();
            tokio::join!(
                relay(client_reads, writes, weather.clone(), asked),
                relay(reads, client_writes, weather, back)
            );
        }
        Store::Tcp(address) => {
            let Ok(store) = TcpStream::connect(address).await else { return };
            let (reads, writes) = store.into_split();
            let back = Arc::default();
            tokio::join!(
                relay(client_reads, writes, weather.clone(), asked),
                relay(reads, client_writes, weather, back)
            );
        }
    }
}

async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    weather: watch::Sender<Weather>,
    passed: Arc<AtomicU64>,
) {
    let mut outlook = weather.subscribe();
    let born = outlook.borrow().freezes;
    let may_pass = |weather: &Weather| !weather.is_frozen && born >= weather.lost_before;
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
        weather.send_if_modified(|weather| {
            let freezes = weather.freezes_at.is_some_and(|words| said.contains(words));
            if freezes {
                *weather = Weather { is_frozen: true, freezes_at: None, ..*weather };
                weather.freezes += 1;
            }
            freezes
        });
        if outlook.wait_for(may_pass).await.is_err() {
            return;
        }
        passed.fetch_add(1, Ordering::Relaxed);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test run says where its stores are")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}
