//! The edge: one hand-written layer around every route, which gives a request its id, language,
//! deadline and panic guard, and an answer its headers, its problem body, its metrics and its line
//! in the log.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::{CatchUnwind, Map};
use tokio::time::Timeout;
use tokio::time::error::Elapsed;
use tower::{Layer, Service};
use tracing::Instrument;

use crate::http::Settings;
use crate::http::problem::{PROBLEM_JSON, Problem};
use crate::tasks::panic_text;

mod context;
mod front;
mod red;

pub use context::{REQUEST_ID, RequestContext};
pub use front::Front;
use red::Red;

/// Longest path with query, in bytes.
const URI_LIMIT: usize = 8 * 1024;

/// Routes that monitors ask every few seconds: a good answer is not worth a line.
const PROBES: [&str; 10] = [
    "/",
    "/health",
    "/healthz",
    "/live",
    "/ready",
    "/api/v1/public/health",
    "/api/v1/health",
    "/api/v1/ready",
    "/health/deep",
    "/metrics",
];

/// What every answer carries unless its handler chose otherwise. Pages bring a policy of their own.
const SECURITY_HEADERS: [(header::HeaderName, HeaderValue); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ),
    (
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=31536000; includeSubDomains"),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        header::HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=()"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Puts an [`Edge`] around every route.
#[derive(Clone, Debug)]
pub struct EdgeLayer {
    settings: Arc<Settings>,
}

impl EdgeLayer {
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge { inner, settings: Arc::clone(&self.settings), red: Red::default() }
    }
}

/// See the module.
#[derive(Clone)]
pub struct Edge<S> {
    inner: S,
    settings: Arc<Settings>,
    red: Red,
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let ready = self.inner.clone();
        let Self { mut inner, settings, red } = std::mem::replace(
            self,
            Self { inner: ready, settings: Arc::clone(&self.settings), red: self.red.clone() },
        );
        let context = RequestContext::of(&request);
        request.extensions_mut().insert(context.clone());
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().cloned();
        let span = tracing::info_span!(
            "request",
            request_id = context.request_id(),
            trace_id = %context.trace_id(),
        );
        Box::pin(async move {
            let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
            let Ok(answer) = match refusal(&request) {
                Some(problem) => Ok(problem.into_response()),
                None => inner.call(request).instrument(span.clone()).await,
            };
            let _entered = span.enter();
            let answer = finish(answer, &context, &settings);
            record(&red, &context, &method, route, answer.status());
            Ok(answer)
        })
    }
}

/// What is refused without asking a handler.
fn refusal(request: &Request) -> Option<Problem> {
    let uri = request.uri();
    let length = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
    if length > URI_LIMIT {
        return Some(Problem::UriTooLong);
    }
    // A TRACE would read a client its own secrets back.
    (request.method() == Method::TRACE).then_some(Problem::MethodNotAllowed)
}

/// Gives a failure its body and every answer its headers.
fn finish(answer: Response, context: &RequestContext, settings: &Settings) -> Response {
    let (mut parts, mut body) = answer.into_parts();
    let problem = parts.extensions.remove::<Arc<Problem>>().or_else(|| {
        is_made_up(parts.status, &parts.headers).then(|| Arc::new(Problem::of_status(parts.status)))
    });
    if let Some(problem) = problem {
        if let Problem::Internal(cause) = &*problem {
            tracing::error!(error = format!("{cause:#}"), "A request failed: {cause}");
        }
        parts.status = problem.code().status();
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        body = problem.body(context).into();
    }
    let headers = &mut parts.headers;
    headers.reserve(SECURITY_HEADERS.len() + 3);
    headers.insert(REQUEST_ID, context.request_id_header());
    headers.append(header::VARY, HeaderValue::from_static("accept-language"));
    headers.entry(header::CONTENT_LANGUAGE).or_insert_with(|| context.language().header());
    if settings.has_security_headers {
        for (name, value) in SECURITY_HEADERS {
            headers.entry(name).or_insert(value);
        }
    }
    Response::from_parts(parts, body)
}

/// Whether a library answered on its own account: our handlers give every failure a media type.
fn is_made_up(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_failure = status.is_client_error() || status.is_server_error();
    let is_plain = headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    is_failure && is_plain
}

/// Counts the answer and writes its line.
fn record(red: &Red, context: &RequestContext, method: &Method, route: &str, status: StatusCode) {
    let took = context.started().elapsed();
    red.record(method, route, status, took);
    if status.is_success() && PROBES.contains(&route) {
        return;
    }
    tracing::info!(
        method = red::label(method),
        route,
        status = status.as_u16(),
        duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        caller = context.caller().map(tracing::field::display),
        "Answered {status} to {method} {route}",
    );
}

/// Gives a handler its deadline and keeps its panic to itself. Inside of CORS, so that a browser
/// may read these answers too.
#[derive(Clone, Debug)]
pub struct GuardLayer {
    deadline: Duration,
}

impl GuardLayer {
    pub fn new(deadline: Duration) -> Self {
        Self { deadline }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, deadline: self.deadline }
    }
}

/// See [`GuardLayer`].
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
    deadline: Duration,
}

type Handled = Result<Result<Response, Infallible>, Box<dyn Any + Send>>;
type Guarded<F> = Timeout<CatchUnwind<AssertUnwindSafe<F>>>;

impl<S> Service<Request> for Guard<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future =
        Map<Guarded<S::Future>, fn(Result<Handled, Elapsed>) -> Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let handled = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        tokio::time::timeout(self.deadline, handled).map(|outcome| match outcome {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => {
                let cause = panic_text(panic.as_ref());
                Ok(Problem::Internal(anyhow::anyhow!("the handler panicked: {cause}"))
                    .into_response())
            }
            Err(_) => Ok(Problem::RequestTimeout.into_response()),
        })
    }
}
