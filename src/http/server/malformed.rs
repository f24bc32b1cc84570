//! Heads that are no HTTP. hyper refuses them by itself, with a status and nothing else; its words are
//! held back here, and the service says them instead, like every other failure.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use http_body_util::{BodyExt, Collected};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::Service;

/// Every answer of ours has one; none of hyper's has.
const OURS: &str = "\r\nx-request-id: ";

const NO_BODY: &str = "content-length: 0\r\n";

/// Stands in a request that was none: what hyper refused it with.
#[derive(Clone, Copy, Debug)]
pub struct Malformed(pub StatusCode);

/// A head that hyper answered a connection with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    head: String,
}

impl Refusal {
    /// Reads what is about to be written; an answer of ours is none.
    fn read(bytes: &[u8]) -> Option<Self> {
        let head = std::str::from_utf8(bytes).ok()?;
        let status = StatusCode::from_bytes(head.strip_prefix("HTTP/1.1 ")?.get(..3)?.as_bytes());
        let (head, after) = head.split_once("\r\n\r\n")?;
        let status = status.ok().filter(StatusCode::is_client_error)?;
        let head = format!("{head}\r\n");
        let is_hypers = after.is_empty() && head.contains(NO_BODY) && !head.contains(OURS);
        is_hypers.then(|| Self { status, head: head.replace(NO_BODY, "") })
    }

    /// What the service says instead, ready to be written.
    pub async fn in_full<S>(self, mut service: S, peer: SocketAddr) -> Vec<u8>
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("*");
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Malformed(self.status));
        let Ok(answer) = service.call(request).await;
        let (mut parts, body) = answer.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        let mut bytes = self.head.into_bytes();
        for (name, value) in &parts.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
        bytes.extend(body);
        bytes
    }
}

/// A stream on which hyper does not refuse by itself.
pub(super) struct Held<T> {
    pub inner: T,
    pub refusal: Option<Refusal>,
}

impl<T> Held<T> {
    pub fn new(inner: T) -> Self {
        Self { inner, refusal: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(refusal) = Refusal::read(bytes) {
            self.refusal = Some(refusal);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The last word is still to be said.
        if self.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper's own words are one slice.
        if let [only] = slices {
            return self.poll_write(context, only);
        }
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_is_held_back() {
        let own = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: today\r\n\r\n";
        let head = "HTTP/1.1 400 Bad Request\r\ndate: today\r\n".to_owned();
        let status = StatusCode::BAD_REQUEST;
        assert_eq!(Refusal::read(own), Some(Refusal { status, head }));
        for ours in [
            "HTTP/1.1 404 Not Found\r\nx-request-id: a\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nHTTP",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "HTTP/1.1 9",
            "{}",
        ] {
            assert_eq!(Refusal::read(ours.as_bytes()), None, "{ours}");
        }
    }
}
