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
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .serve_connection(TokioIo::new(stream), service)
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
