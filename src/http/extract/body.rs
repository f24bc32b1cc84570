//! Reads a body within its limits: so many bytes, no longer than allowed, and of all bodies together
//! no more than we have memory for.

use axum::body::{Body, Bytes};
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

use crate::http::Settings;
use crate::http::problem::Problem;

/// How many bodies that are not small may be in our memory at once.
pub const LARGE_BODIES: usize = 256;

/// A body up to this size needs no place: no webhook and no form is larger.
const SMALL_BODY: usize = 16 * 1024;

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

/// The whole body, or why there is none.
async fn read(body: Body, settings: &Settings) -> Result<Bytes, Problem> {
    // A trickle that never pauses for long would take until the request's own deadline.
    let whole = tokio::time::timeout(settings.body_timeout, collect(body, settings)).await;
    whole.map_err(|_| Problem::ClientTooSlow)?
}

async fn collect(mut body: Body, settings: &Settings) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    let mut place = None;
    loop {
        let frame = tokio::time::timeout(settings.read_timeout, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Problem::ClientTooSlow)? else { break };
        // A body that breaks off reaches nobody's eyes: the client is gone.
        let Ok(data) = frame.map_err(|_| Problem::InvalidJson)?.into_data() else { continue };
        let length = first.len() + all.len() + data.len();
        if length > settings.body_limit_bytes {
            return Err(Problem::PayloadTooLarge);
        }
        if length > SMALL_BODY && place.is_none() {
            // Nothing more is read meanwhile: the client waits, and others with small bodies do not.
            place = Arc::clone(&settings.large_bodies).acquire_owned().await.ok();
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
    let whole = if all.is_empty() { first } else { all.into() };
    // The place is given back when nobody needs the bytes any more.
    Ok(match place {
        Some(place) => Bytes::from_owner(Placed { whole, _place: place }),
        None => whole,
    })
}

/// A large body, together with its place.
struct Placed {
    whole: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.whole
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;
    use crate::app::AppState;

    async fn read(body: Body, state: &AppState) -> Result<Bytes, Problem> {
        let request = Request::post("/").body(body).unwrap();
        RawBody::from_request(request, state).await.map(|RawBody(bytes)| bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up() {
        let state = AppState::without_stores(&[]);
        let trickle = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(b"a")));
        let trickle = trickle.then(async |byte| {
            tokio::time::sleep(Duration::from_secs(5)).await;
            byte
        });
        let began = tokio::time::Instant::now();
        let read = read(Body::from_stream(trickle), &state).await;
        assert!(matches!(read, Err(Problem::ClientTooSlow)));
        assert_eq!(began.elapsed(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_share_their_places_and_small_ones_need_none() {
        let state = AppState::without_stores(&[]);
        let places = Arc::clone(&state.http.large_bodies);
        let large = || Body::from(vec![b'a'; SMALL_BODY + 1]);
        let others = Arc::clone(&places).acquire_many_owned(255).await.unwrap();
        let first = read(large(), &state).await.unwrap();
        assert_eq!((first.len(), places.available_permits()), (SMALL_BODY + 1, 0));
        assert!(read(large(), &state).now_or_never().is_none());
        let small = read(Body::from(vec![b'a'; SMALL_BODY]), &state).await.unwrap();
        assert_eq!(small.len(), SMALL_BODY);
        // Who waits in vain is told to send it again.
        assert!(matches!(read(large(), &state).await, Err(Problem::ClientTooSlow)));
        let copy = first.clone();
        drop(first);
        assert_eq!(places.available_permits(), 0);
        drop(copy);
        assert_eq!(places.available_permits(), 1);
        assert!(read(large(), &state).await.is_ok());
        drop(others);
    }
}
