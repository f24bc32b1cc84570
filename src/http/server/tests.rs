//! The accept loop over real sockets: who is served, who is given up, and how it ends.

use tokio::sync::Notify;
use tower::service_fn as service;

use super::*;
use crate::app::AppState;

const LIMITS: Limits = Limits {
    header_timeout: Duration::from_mins(1),
    write_timeout: Duration::from_mins(1),
    max_connections: 100,
    drain: Duration::from_mins(1),
};

struct Served {
    address: SocketAddr,
    tasks: Tasks,
    /// Rung when nothing more is accepted.
    closed: Arc<Notify>,
}

fn start<F>(limits: Limits, handler: impl Fn(Request) -> F + Clone + Send + 'static) -> Served
where
    F: Future<Output: Into<Body>> + Send + 'static,
{
    let handler = service(move |request| {
        let answer = handler(request);
        async { Ok(Response::new(answer.await.into())) }
    });
    open(limits, handler)
}

fn open<S>(limits: Limits, handler: S) -> Served
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (tasks, closed) = (Tasks::default(), Arc::new(Notify::new()));
    let (inner, bell, stop) = (tasks.clone(), Arc::clone(&closed), tasks.stopping().clone());
    tasks.spawn(async move {
        serve(listener, handler, limits, inner, stop).await;
        bell.notify_one();
    });
    Served { address, tasks, closed }
}

async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Everything until the server closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let mut is_open = true;
    while is_open {
        is_open = stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0);
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_request_knows_where_it_came_from() {
    let served = start(LIMITS, async |request: Request| {
        let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>().unwrap();
        if peer.ip().is_loopback() { "from here" } else { "from elsewhere" }
    });
    let stream = send(served.address, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(rest(stream.await).await.ends_with("from here"));
}

#[tokio::test]
async fn a_head_that_stops_coming_is_given_up() {
    let limits = Limits { header_timeout: Duration::from_millis(20), ..LIMITS };
    let served = start(limits, async |_| "never");
    let (nothing, half) =
        (send(served.address, "").await, send(served.address, "GET / HTTP/1.1\r\nhost").await);
    assert!(!rest(nothing).await.contains("never"));
    assert!(!rest(half).await.contains("never"));
}

#[tokio::test]
async fn when_all_places_are_taken_whoever_only_waits_gives_way() {
    let limits = Limits { max_connections: 3, ..LIMITS };
    let served = start(limits, async |_: Request| "done");
    let (silent, half) =
        (send(served.address, "").await, send(served.address, "GET / HTTP/1.1\r\nhost").await);
    let kept = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut idle = send(served.address, kept).await;
    idle.read_u8().await.unwrap();
    let next = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert!(rest(send(served.address, next).await).await.ends_with("done"));
    // It took the place of whoever had waited longest, and of nobody else.
    assert_eq!(rest(silent).await, "");
    let mut half = half;
    half.write_all(b": a\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(half).await.ends_with("done"));
    drop(idle);
}

#[tokio::test]
async fn connections_that_all_work_are_left_alone_and_the_next_one_waits_for_its_turn() {
    let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, gate) = (Arc::clone(&entered), Arc::clone(&go));
    let limits = Limits { max_connections: 1, ..LIMITS };
    let served = start(limits, move |_| {
        let (inside, gate) = (Arc::clone(&inside), Arc::clone(&gate));
        async move {
            inside.notify_one();
            gate.notified().await;
            "done"
        }
    });
    let close = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let first = send(served.address, close).await;
    entered.notified().await;
    let second = send(served.address, close).await;
    go.notify_one();
    assert!(rest(first).await.ends_with("done"));
    entered.notified().await;
    go.notify_one();
    assert!(rest(second).await.ends_with("done"));
}

#[tokio::test]
async fn a_head_without_an_end_is_refused_before_it_fills_the_memory() {
    let served = start(LIMITS, async |request: Request| {
        if request.extensions().get::<Malformed>().is_some() { "refused" } else { "never" }
    });
    let mut stream = send(served.address, "GET / HTTP/1.1\r\nhost: a\r\nx-long: ").await;
    // The server may hang up while we write.
    drop(stream.write_all("a".repeat(1024 * 1024).as_bytes()).await);
    assert!(!rest(stream).await.contains("never"));
}

#[tokio::test]
async fn on_shutdown_nothing_is_accepted_and_the_request_in_flight_is_answered() {
    let (entered, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, gate) = (Arc::clone(&entered), Arc::clone(&go));
    let served = start(LIMITS, move |_| {
        let (inside, gate) = (Arc::clone(&inside), Arc::clone(&gate));
        async move {
            inside.notify_one();
            gate.notified().await;
            "done"
        }
    });
    let idle = send(served.address, "").await;
    let running = send(served.address, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    entered.notified().await;
    served.tasks.stopping().cancel();
    served.closed.notified().await;
    assert!(TcpStream::connect(served.address).await.is_err());
    assert_eq!(rest(idle).await, "");
    go.notify_one();
    let answer = rest(running).await;
    assert!(answer.contains("connection: close") && answer.ends_with("done"), "{answer}");
    assert!(served.tasks.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_request_that_outlives_the_drain_is_cut_off() {
    let entered = Arc::new(Notify::new());
    let inside = Arc::clone(&entered);
    let limits = Limits { drain: Duration::from_millis(20), ..LIMITS };
    let served = start(limits, move |_| {
        inside.notify_one();
        std::future::pending::<Body>()
    });
    let running = send(served.address, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    entered.notified().await;
    assert!(served.tasks.stop(Duration::from_secs(5)).await);
    assert_eq!(rest(running).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_waited_for() {
    let limits = Limits {
        write_timeout: Duration::from_millis(100),
        drain: Duration::from_mins(1),
        ..LIMITS
    };
    let served = start(limits, async |_: Request| "x".repeat(16 * 1024 * 1024));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(served.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: dealix.me\r\n\r\n").await.unwrap();
    // The connection ends although nobody reads a byte, and long before its time for draining.
    assert!(served.tasks.stop(Duration::from_secs(20)).await);
    drop(stream);
}

#[tokio::test]
async fn a_panic_ends_its_connection_and_no_other() {
    let served = start(LIMITS, async |request: Request| match request.uri().path() {
        "/panic" => panic!("only me"),
        _ => "fine",
    });
    let close = "HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let panicking = send(served.address, &format!("GET /panic {close}")).await;
    assert_eq!(rest(panicking).await, "");
    assert!(rest(send(served.address, &format!("GET / {close}")).await).await.ends_with("fine"));
    assert!(!served.tasks.is_broken());
}

#[tokio::test]
async fn a_head_that_is_no_http_is_refused_like_everything_else() {
    let served = open(LIMITS, crate::http::router(AppState::without_stores(&[])));
    let large = format!("GET / HTTP/1.1\r\nx-large: {}\r\n\r\n", "a".repeat(128 * 1024));
    let after_another = "GET /live HTTP/1.1\r\nhost: a\r\n\r\nno http\r\n\r\n";
    for (head, status, code) in [
        ("no http\r\n\r\n", "400 Bad Request", "malformed-request"),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n", "400 Bad Request", "malformed-request"),
        (after_another, "400 Bad Request", "malformed-request"),
        (&large, "431 Request Header Fields Too Large", "head-too-large"),
    ] {
        let answer = rest(send(served.address, head).await).await;
        let answer = answer.split_once("alive\"}").map_or(&*answer, |(_, last)| last);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
        let headers: Vec<_> =
            head.lines().skip(1).map(|line| line.split_once(": ").unwrap()).collect();
        let of = |name: &str| {
            let found: Vec<_> = headers.iter().filter(|header| header.0 == name).collect();
            assert_eq!(found.len(), 1, "{name}: {answer}");
            found[0].1
        };
        assert_eq!(of("content-length"), body.len().to_string());
        assert_eq!((of("connection"), of("content-type")), ("close", "application/problem+json"));
        assert_eq!(of("x-content-type-options"), "nosniff");
        assert!(!of("date").is_empty());
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["code"], &body["instance"]), (&code.into(), &"*".into()));
        assert_eq!(body["request_id"], of("x-request-id"));
    }
}
