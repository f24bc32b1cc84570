//! What the edge knows about a request: its id, its trace, its language, its path, its caller.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use tokio::time::Instant;
use uuid::Uuid;

use super::client::Client;
use super::limits::Counted;
use crate::access::Caller;
use crate::flows::checkout::guard_email::TooMany;
use crate::http::language::Language;
use crate::http::problem::Problem;

/// The header that carries the request id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What the edge knows about the request being handled. An extractor.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Context>);

#[derive(Debug)]
struct Context {
    request_id: HeaderValue,
    trace_id: TraceId,
    language: Language,
    uri: Uri,
    started: Instant,
    client: Client,
    caller: Option<Caller>,
    counted: Mutex<Option<Counted>>,
}

impl RequestContext {
    pub(super) fn of<B>(request: &Request<B>, client: Client, caller: Option<Caller>) -> Self {
        let headers = request.headers();
        let fresh = Uuid::now_v7();
        Self(Arc::new(Context {
            request_id: offered_id(headers).unwrap_or_else(|| id_header(fresh)),
            trace_id: offered_trace(headers).unwrap_or(TraceId(fresh.as_u128())),
            language: Language::negotiate(headers),
            uri: request.uri().clone(),
            started: Instant::now(),
            client,
            caller,
            counted: Mutex::default(),
        }))
    }

    /// Names this request in every answer, log line, event and audit row.
    pub fn request_id(&self) -> &str {
        self.0.request_id.to_str().unwrap_or_default()
    }

    /// The request id as it stands in a header.
    pub fn request_id_header(&self) -> HeaderValue {
        self.0.request_id.clone()
    }

    /// Names the trace that this request belongs to, across services.
    pub fn trace_id(&self) -> TraceId {
        self.0.trace_id
    }

    /// The language of the answer.
    pub fn language(&self) -> Language {
        self.0.language
    }

    /// The path that was asked for, without the query.
    pub fn path(&self) -> &str {
        self.0.uri.path()
    }

    /// When the request reached us.
    pub fn started(&self) -> Instant {
        self.0.started
    }

    /// Who asks, if their credential is one of ours.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.as_ref()
    }

    /// From where they ask.
    pub(super) fn client(&self) -> Client {
        self.0.client
    }

    /// Remembers what the request was counted on, for the head of its answer.
    pub(super) fn count(&self, counted: Counted) {
        // Whatever was counted last has decided.
        *self.0.counted.lock().unwrap_or_else(PoisonError::into_inner) = Some(counted);
    }

    /// Counts a refusal of the guard of one e-mail address, for the head of its answer, too.
    pub fn count_email(&self, too_many: &TooMany) {
        self.count(Counted::by_email(too_many));
    }

    /// What the request was counted on.
    pub(super) fn counted(&self) -> Option<Counted> {
        *self.0.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let context = parts.extensions.get::<Self>().cloned();
        context.ok_or_else(|| Problem::Internal(anyhow!("a request that did not pass the edge")))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// The trace id of W3C Trace Context: 16 bytes, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// The id that the client chose, if it is one we can repeat without harm.
fn offered_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let is_harmless =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((1..=64).contains(&id.len()) && id.as_bytes().iter().all(is_harmless)).then(|| id.clone())
}

fn id_header(id: Uuid) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The trace that the client is in: `version-trace-parent-flags`, all in lower-case hexadecimal.
fn offered_trace(headers: &HeaderMap) -> Option<TraceId> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut fields = text.split('-');
    let (version, trace) = (fields.next()?, fields.next()?);
    let (parent, flags) = (fields.next()?, fields.next()?);
    // A later version may append fields; version 00 has none, and ff is no version.
    let is_version = version != "ff" && (version != "00" || fields.next().is_none());
    let lengths = [version, trace, parent, flags].map(str::len);
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    let is_zero = |field: &str| field.bytes().all(|digit| digit == b'0');
    let is_valid = is_version
        && lengths == [2, 32, 16, 2]
        && [version, trace, parent, flags].iter().all(|field| field.bytes().all(is_hex))
        && !is_zero(trace)
        && !is_zero(parent);
    is_valid.then(|| u128::from_str_radix(trace, 16).ok().map(TraceId)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value).unwrap())])
    }

    #[test]
    fn only_a_harmless_request_id_is_repeated() {
        let long = "a".repeat(64);
        for good in ["a", "A.b_c-9", long.as_str()] {
            assert_eq!(offered_id(&headers(REQUEST_ID, good.as_bytes())).unwrap(), good);
        }
        let longer = "a".repeat(65);
        for bad in ["", "a b", "a/b", "a\"b", "é", longer.as_str()] {
            assert_eq!(offered_id(&headers(REQUEST_ID, bad.as_bytes())), None, "{bad}");
        }
    }

    #[test]
    fn a_trace_is_continued_only_if_it_is_one() {
        let trace = |text: &str| offered_trace(&headers(TRACEPARENT, text.as_bytes()));
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let found = trace(&format!("00-{id}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(found.to_string(), id);
        assert!(trace(&format!("cc-{id}-00f067aa0ba902b7-01-later")).is_some());
        for bad in [
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902b7-01-later"),
            format!("00-{id}-00f067aa0ba902b7"),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}0-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("0g-{id}-00f067aa0ba902b7-01"),
            String::new(),
        ] {
            assert_eq!(trace(&bad), None, "{bad}");
        }
    }
}
