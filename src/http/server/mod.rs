//! The accept loop: takes connections up to a limit, gives slow and idle ones up, and drains on
//! shutdown.

use std::convert::Infallible;
use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::http::edge::Client;
use crate::tasks::Tasks;

mod descriptors;
mod malformed;
mod places;
#[cfg(test)]
mod tests;

pub use descriptors::room_for_connections;
use malformed::Held;
pub use malformed::Malformed;
use places::{Arriving, Leaving, Place, Places};

/// Largest request head. hyper would keep up to 400 KiB of each connection's.
const HEAD_LIMIT: usize = 32 * 1024;

/// How many connections the kernel keeps until we take them; `net.core.somaxconn` may make it fewer.
/// One that finds no room there is tried again by its client's kernel after a whole second.
const BACKLOG: u32 = 4_096;

/// How long whoever sent no HTTP is listened to after he was told so.
const LINGER: Duration = Duration::from_secs(1);

/// How long to wait at most when the system has no file descriptor left for us.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(200);

/// How much of our time a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a client may take to send a request head, and to begin the next one.
    pub header_timeout: Duration,
    /// How long a client may take to read the next piece of an answer.
    pub write_timeout: Duration,
    /// Connections served at once. When there are more, those that only wait give way.
    pub max_connections: usize,
    /// How long requests in flight get once we stop.
    pub drain: Duration,
}

/// Listens there, with room for a crowd that comes all at once.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait until the connections before it are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
    let places = Places::new(limits.max_connections);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Nobody waits here unless every connection works; then the others stay in the backlog.
                let place = tokio::select! {
                    place = places.take(Client::at(peer.ip())) => place,
                    () = stop.cancelled() => break,
                };
                let (service, stop) = (service.clone(), stop.clone());
                tasks.spawn(converse(stream, peer, service, place, limits, stop));
            }
            Err(error) if is_clients_fault(&error) => (),
            Err(error) => {
                tracing::warn!(%error, "Accepting a connection failed: {error}");
                let room = tokio::time::timeout(PAUSE_AFTER_ACCEPT_ERROR, places.make_room());
                drop(room.await);
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
    place: Arc<Place>,
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
    let (own_place, front) = (Arc::clone(&place), service.clone());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let place = Arc::clone(&own_place);
        let mut request = request.map(|body| Body::new(Arriving::new(body, Arc::clone(&place))));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answered = service.clone().call(request);
        async move {
            let Ok(answer) = answered.await;
            Ok::<_, Infallible>(answer.map(|body| Leaving::new(body, place)))
        }
    });
    // hyper bounds what a client sends, not how long it takes to read.
    let mut patient = TimeoutStream::new(stream);
    patient.set_write_timeout(Some(limits.write_timeout));
    let patient = Box::pin(patient);
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(Held::new(patient)), service);
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended,
            () = place.asked_to_leave() => {
                // What has come meanwhile counts, and a fresh socket is read at the second look.
                tokio::task::yield_now().await;
                if let Some(ended) = (&mut connection).now_or_never() {
                    break ended;
                }
                if place.has_to_leave() {
                    return tracing::debug!("A connection that only waited gave way to another one");
                }
            }
            () = stop.cancelled() => {
                // The request in flight gets its answer, with `Connection: close`, and then a time limit.
                Pin::new(&mut connection).graceful_shutdown();
                match tokio::time::timeout(limits.drain, &mut connection).await {
                    Ok(ended) => break ended,
                    Err(_) => return tracing::warn!("A request was cut off by the shutdown"),
                }
            }
        }
    };
    // Clients break off, send no HTTP, or are too slow: nothing to look at.
    if let Err(error) = ended {
        tracing::debug!(%error, "A connection ended early: {error}");
    }
    let Held { mut inner, refusal } = connection.into_parts().io.into_inner();
    if let Some(refusal) = refusal {
        let answer = refusal.in_full(front, peer).await;
        let said = async {
            inner.write_all(&answer).await?;
            inner.shutdown().await?;
            // Closed while something is unread, it would take the answer back.
            tokio::io::copy(&mut inner.take(HEAD_LIMIT as u64), &mut tokio::io::sink()).await
        };
        tokio::select! {
            // Whether it was heard is its client's business.
            _ = tokio::time::timeout(LINGER, said) => (),
            () = place.asked_to_leave() => (),
        }
    }
}
