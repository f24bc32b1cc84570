//! Reads a body within its limits: so many bytes, and no longer pause than allowed.

use axum::body::{Body, Bytes};
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::sync::Arc;

use crate::http::Settings;
use crate::http::problem::Problem;

/// The body as it came, whatever its media type.
#[derive(Clone, Debug)]
pub struct RawBody(pub Bytes);

impl<S> FromRequest<S> for RawBody
where
    S: Sync,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let settings = Arc::<Settings>::from_ref(state);
        if declared_length(request.headers()) > settings.body_limit_bytes {
            return Err(Problem::PayloadTooLarge);
        }
        read(request.into_body(), &settings).await.map(Self)
    }
}

/// What `Content-Length` promises; nothing for a chunked body.
fn declared_length(headers: &HeaderMap) -> usize {
    let text = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    // hyper has refused what is no number; what does not fit is larger than any limit.
    text.map_or(0, |text| text.parse().unwrap_or(usize::MAX))
}

async fn read(mut body: Body, settings: &Settings) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    loop {
        let frame = tokio::time::timeout(settings.read_timeout, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Problem::ClientTooSlow)? else { break };
        // A body that breaks off reaches nobody's eyes: the client is gone.
        let Ok(data) = frame.map_err(|_| Problem::InvalidJson)?.into_data() else { continue };
        if first.len() + all.len() + data.len() > settings.body_limit_bytes {
            return Err(Problem::PayloadTooLarge);
        }
        if first.is_empty() && all.is_empty() {
            // Most bodies come in one piece, which needs no copy.
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}
