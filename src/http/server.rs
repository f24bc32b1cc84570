//! The accept loop: takes connections up to a limit, gives slow ones up, and drains on shutdown.

use std::convert::Infallible;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::tasks::Tasks;

/// How long to wait when the system has no file descriptor left for us: some will be closed by then.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(200);

/// How much of our time a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a client may take to send a request head, and to begin the next one.
    pub header_timeout: Duration,
    /// How long a client may take to read the next piece of an answer.
    pub write_timeout: Duration,
    /// Connections served at once; further ones wait to be accepted.
    pub max_connections: usize,
    /// How long requests in flight get once we stop.
    pub drain: Duration,
}

/// Serves `service` on `listener` until `stop`. Returns as soon as nothing more is accepted; the
/// connections that are left belong to `tasks`.
pub async fn serve<S>(
    listener: TcpListener,
    service: S,
    limits: Limits,
    tasks: Tasks,
    stop: CancellationToken,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let free = Arc::new(Semaphore::new(limits.max_connections));
    loop {
        // The place is taken first: a connection that we cannot serve stays in the backlog.
        let place = tokio::select! {
            place = Arc::clone(&free).acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (service, stop) = (service.clone(), stop.clone());
                tasks.spawn(async move {
                    converse(stream, peer, service, limits, stop).await;
                    drop(place);
                });
            }
            Err(error) if is_clients_fault(&error) => (),
            Err(error) => {
                tracing::warn!(%error, "Accepting a connection failed: {error}");
                tokio::time::sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
            }
        }
    }
}

/// Whether the connection was given up by the other side before we took it.
fn is_clients_fault(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

/// Answers the requests of one connection.
async fn converse<S>(
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    limits: Limits,
    stop: CancellationToken,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // Answers are small and written at once; waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "A connection was gone before it was served: {error}");
        return;
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        service.clone().call(request)
    });
    // hyper bounds what a client sends, not how long it takes to read.
    let mut patient = TimeoutStream::new(stream);
    patient.set_write_timeout(Some(limits.write_timeout));
    let patient = Box::pin(patient);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .serve_connection(TokioIo::new(patient), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            // The request in flight gets its answer, with `Connection: close`, and then a time limit.
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.drain, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::warn!("A request was cut off by the shutdown"),
            }
        }
    };
    // Clients break off, send no HTTP, or are too slow: nothing to look at.
    if let Err(error) = ended {
        tracing::debug!(%error, "A connection ended early: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tower::service_fn as service;

    use super::*;

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

    async fn start<F>(
        limits: Limits,
        handler: impl Fn(Request) -> F + Clone + Send + 'static,
    ) -> Served
    where
        F: Future<Output: Into<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, closed) = (Tasks::default(), Arc::new(Notify::new()));
        let handler = service(move |request| {
            let answer = handler(request);
            async { Ok(Response::new(answer.await.into())) }
        });
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
        })
        .await;
        let stream = send(served.address, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        assert!(rest(stream.await).await.ends_with("from here"));
    }

    #[tokio::test]
    async fn a_head_that_stops_coming_is_given_up() {
        let limits = Limits { header_timeout: Duration::from_millis(20), ..LIMITS };
        let served = start(limits, async |_| "never").await;
        let (nothing, half) =
            (send(served.address, "").await, send(served.address, "GET / HTTP/1.1\r\nhost").await);
        assert!(!rest(nothing).await.contains("never"));
        assert!(!rest(half).await.contains("never"));
    }

    #[tokio::test]
    async fn connections_over_the_limit_wait_their_turn_even_behind_half_open_ones() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let served = start(Limits { max_connections: 1, ..LIMITS }, move |request: Request| {
            log.lock().unwrap().push(request.uri().path().to_owned());
            async { "done" }
        })
        .await;
        let close = "HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let mut first = send(served.address, "GET /first ").await;
        let second = send(served.address, &format!("GET /second {close}")).await;
        first.write_all(close.as_bytes()).await.unwrap();
        assert!(rest(first).await.ends_with("done"));
        assert!(rest(second).await.ends_with("done"));
        assert_eq!(*seen.lock().unwrap(), ["/first", "/second"]);
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
        })
        .await;
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
        })
        .await;
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
        let served = start(limits, async |_: Request| "x".repeat(16 * 1024 * 1024)).await;
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
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
        })
        .await;
        let close = "HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let panicking = send(served.address, &format!("GET /panic {close}")).await;
        assert_eq!(rest(panicking).await, "");
        assert!(
            rest(send(served.address, &format!("GET / {close}")).await).await.ends_with("fine")
        );
        assert!(!served.tasks.is_broken());
    }
}
