//! A question whose answer is lost on the way arrives twice, and is answered as if it had arrived once.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dealix::queue::{Change, Letters, Redis, Restored};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;
use url::Url;
use uuid::Uuid;

use crate::world::{QUEUE, World, at, letter};

/// A way to the Redis of the test run that loses the next answer when it is told to.
struct Lossy {
    letters: Letters,
    /// Which answer is lost, counted from the next; 0 when none is.
    loses: Arc<AtomicU32>,
    _accepting: JoinSet<()>,
}

impl Lossy {
    #[expect(clippy::disallowed_methods, reason = "the test run says where its stores are")]
    async fn of(world: &World) -> Self {
        let mut url: Url = std::env::var("REDIS_URL").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = listener.local_addr().unwrap();
        let (loses, mut accepting) = (Arc::new(AtomicU32::new(0)), JoinSet::new());
        let (store, losing) = (url.clone(), Arc::clone(&loses));
        accepting.spawn(async move {
            let mut passing = JoinSet::new();
            loop {
                let (asking, _) = listener.accept().await.unwrap();
                let (store, losing) = (store.clone(), Arc::clone(&losing));
                passing.spawn(async move {
                    if store.scheme().contains("unix") {
                        let path = PathBuf::from(store.path());
                        pass(asking, UnixStream::connect(path).await.unwrap(), &losing).await;
                    } else {
                        let port = store.port().unwrap_or(6379);
                        let host = (store.host_str().unwrap(), port);
                        pass(asking, TcpStream::connect(host).await.unwrap(), &losing).await;
                    }
                });
            }
        });
        let through = if url.scheme().contains("unix") {
            format!("redis://{door}")
        } else {
            url.set_port(Some(door.port())).unwrap();
            url.set_host(Some("127.0.0.1")).unwrap();
            url.into()
        };
        let redis = Redis::new(&through.as_str().into()).unwrap();
        let letters = Letters::new(redis, &world.prefix, Uuid::new_v4(), "r1");
        Self { letters, loses, _accepting: accepting }
    }

    /// The answer that comes as this one is lost, and the connection with it.
    fn lose(&self, number: u32) {
        self.loses.store(number, Ordering::SeqCst);
    }

    fn has_lost(&self) -> bool {
        self.loses.load(Ordering::SeqCst) == 0
    }
}

/// Passes on what comes from either side, until an answer is to be lost.
async fn pass(
    mut asking: TcpStream,
    mut store: impl AsyncRead + AsyncWrite + Unpin,
    loses: &AtomicU32,
) {
    let (mut question, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = asking.read(&mut question) => match read {
                Ok(length @ 1..) => store.write_all(&question[..length]).await.unwrap(),
                _ => return,
            },
            read = store.read(&mut answer) => match read {
                Ok(length @ 1..) if count_down(loses) != 1 => {
                    if asking.write_all(&answer[..length]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

/// What the counter was; it ends at 0.
fn count_down(counter: &AtomicU32) -> u32 {
    let one_less = |count: u32| Some(count.saturating_sub(1));
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).unwrap()
}

#[tokio::test]
async fn an_order_whose_answer_is_lost_is_told_to_be_done() {
    let mut world = World::new();
    let lossy = Lossy::of(&world).await;
    let letters = &lossy.letters;
    for (second, id) in (0..).zip(["known", "a", "b"]) {
        world.letters.push_dead(QUEUE, &letter(id, second), at(second)).await.unwrap();
    }
    let one = |id: &str| vec![id.to_owned()];
    // By now Redis knows the scripts, and the connection is there.
    let known = one("known");
    letters.edit(QUEUE, "known", "{}", at(9)).await.unwrap();
    letters.delete(QUEUE, &known, "ops", at(9)).await.unwrap();
    letters.restore(QUEUE, &known, at(9)).await.unwrap();

    // The letter is read first: the second answer is the one that tells.
    lossy.lose(2);
    let edit = letters.edit(QUEUE, "a", r#"{"n":2}"#, at(10));
    assert_eq!(edit.await.unwrap(), Change::Done);
    assert!(lossy.has_lost());

    lossy.lose(1);
    assert_eq!(letters.delete(QUEUE, &one("a"), "ops", at(11)).await.unwrap(), [Change::Done]);
    assert!(lossy.has_lost());
    assert_eq!(world.letters.stats(QUEUE, at(11)).await.unwrap().binned, 1);

    lossy.lose(1);
    assert_eq!(letters.restore(QUEUE, &one("a"), at(12)).await.unwrap(), [Change::Done]);
    assert!(lossy.has_lost());

    letters.delete(QUEUE, &[one("a"), one("b")].concat(), "ops", at(13)).await.unwrap();
    lossy.lose(1);
    let restored = letters.restore_page(QUEUE, 0, at(14)).await.unwrap();
    assert_eq!(restored, Restored { restored: 2, skipped: 0, is_over: true });
    assert!(lossy.has_lost());
    // Another question of the same words is another.
    let again = letters.restore(QUEUE, &one("a"), at(15)).await.unwrap();
    assert_eq!(again, [Change::Missing]);
    world.audit();
}
