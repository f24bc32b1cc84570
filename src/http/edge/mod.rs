//! The edge: one hand-written layer around every route, which gives a request its id, language,
//! caller, budget, deadline and panic guard, and an answer its headers, its problem body, its
//! metrics and its line in the log.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::{CatchUnwind, Either, Map};
use tokio::time::Timeout;
use tokio::time::error::Elapsed;
use tower::{Layer, Service};
use tracing::Instrument;

use crate::access::{Access, Insider};
use crate::clock::Clock;
use crate::http::Settings;
use crate::http::auth::caller_of;
use crate::http::problem::{PROBLEM_JSON, Problem};
use crate::http::server::Malformed;
use crate::tasks::panic_text;

mod budget;
mod client;
mod context;
mod front;
mod limits;
mod red;

pub use client::Client;
pub use context::{REQUEST_ID, RequestContext};
pub use front::Front;
pub use limits::{RateLimits, is_health, is_limited};
use red::Red;

/// Longest path with query, in bytes.
const URI_LIMIT: usize = 8 * 1024;

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
    known: Known,
}

/// What the edge knows before any request comes.
#[derive(Clone, Debug)]
struct Known {
    settings: Arc<Settings>,
    access: Access,
    clock: Clock,
}

impl EdgeLayer {
    pub fn new(settings: Arc<Settings>, access: Access, clock: Clock) -> Self {
        Self { known: Known { settings, access, clock } }
    }
}

impl Known {
    fn context(&self, request: &Request) -> RequestContext {
        let (extensions, headers) = (request.extensions(), request.headers());
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
        let client = Client::of(peer, headers, &self.settings.trusted_proxies);
        let insider = extensions.get().map(|Insider(caller)| caller.clone());
        let caller = insider.or_else(|| caller_of(headers, &self.access, self.clock.now()));
        RequestContext::of(request, client, caller)
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge { inner, known: self.known.clone(), red: Red::default() }
    }
}

/// See the module.
#[derive(Clone)]
pub struct Edge<S> {
    inner: S,
    known: Known,
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
        let Self { mut inner, known, red } = std::mem::replace(
            self,
            Self { inner: ready, known: self.known.clone(), red: self.red.clone() },
        );
        let context = known.context(&request);
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
            let answer = finish(answer, &context, &known.settings);
            record(&red, &context, &method, route, answer.status());
            Ok(answer)
        })
    }
}

/// What is refused without asking a handler.
fn refusal(request: &Request) -> Option<Problem> {
    if let Some(Malformed(status)) = request.extensions().get() {
        return Some(Problem::of_status(*status));
    }
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
    if let Some(counted) = context.counted() {
        counted.tell(headers);
    }
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
    // Monitors ask every few seconds: a good answer is not worth a line.
    if status.is_success() && is_health(route) {
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

/// Lets a request through if its budget allows, gives its handler a deadline, and keeps its panic to
/// itself. Inside of CORS, so that a browser may read these answers too.
#[derive(Clone, Debug)]
pub struct GuardLayer {
    limits: Arc<RateLimits>,
    deadline: Duration,
}

impl GuardLayer {
    pub fn new(limits: Arc<RateLimits>, deadline: Duration) -> Self {
        Self { limits, deadline }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, limits: Arc::clone(&self.limits), deadline: self.deadline }
    }
}

/// See [`GuardLayer`].
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
    limits: Arc<RateLimits>,
    deadline: Duration,
}

type Handled = Result<Result<Response, Infallible>, Box<dyn Any + Send>>;
type Guarded<F> = Timeout<CatchUnwind<AssertUnwindSafe<F>>>;
type Refused = Ready<Result<Response, Infallible>>;

impl<S> Service<Request> for Guard<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<
        Refused,
        Map<Guarded<S::Future>, fn(Result<Handled, Elapsed>) -> Result<Response, Infallible>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if let Err(problem) = admit(&self.limits, &request) {
            return Either::Left(ready(Ok(problem.into_response())));
        }
        let handled = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Either::Right(tokio::time::timeout(self.deadline, handled).map(|outcome| match outcome {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => {
                let cause = panic_text(panic.as_ref());
                Ok(Problem::Internal(anyhow::anyhow!("the handler panicked: {cause}"))
                    .into_response())
            }
            Err(_) => Ok(Problem::RequestTimeout.into_response()),
        }))
    }
}

fn admit(limits: &RateLimits, request: &Request) -> Result<(), Problem> {
    let extensions = request.extensions();
    let Some(context) = extensions.get::<RequestContext>() else { return Ok(()) };
    let route = extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    limits.admit(context, request.method(), route)
}
