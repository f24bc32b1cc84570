//! The accept loop: it can freeze (accept and answer nothing) and reset a single connection. No route lives here.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Found in every request's extensions; cancelling it resets the connection.
#[derive(Debug, Clone)]
pub(crate) struct Reset(pub(crate) CancellationToken);

/// Serves until `stop`. While `frozen` is true, only the control routes answer.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    frozen: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, router.clone(), frozen.clone(), stop.clone()));
            }
            // Out of file descriptors or a connection that is gone again: let others finish first.
            Err(error) => {
                tracing::debug!(%error, "The sandbox could not accept a connection");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    frozen: watch::Receiver<bool>,
    stop: CancellationToken,
) {
    let reset = CancellationToken::new();
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(Reset(reset.clone()));
        let is_control = request.uri().path().starts_with("/_sandbox/");
        let router = TowerToHyperService::new(router.clone());
        let frozen = frozen.clone();
        async move {
            if is_control {
                return router.call(request).await;
            }
            thawed(frozen.clone()).await;
            let answer = router.call(request).await;
            thawed(frozen).await;
            answer
        }
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "A connection to the sandbox broke");
            }
        }
        () = reset.cancelled() => {
            // Closing with a zero linger time sends RST instead of FIN.
            if let Err(error) = connection.into_parts().io.into_inner().set_zero_linger() {
                tracing::debug!(%error, "A connection could not be reset");
            }
        }
        () = stop.cancelled() => (),
    }
}

async fn thawed(mut frozen: watch::Receiver<bool>) {
    // The sender lives as long as the listener; once it is gone there is nobody left to answer.
    if frozen.wait_for(|frozen| !frozen).await.is_err() {
        std::future::pending::<()>().await;
    }
}
