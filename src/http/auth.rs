//! Who asks: extractors whose type is the access level. A handler that names one cannot run for
//! anybody else, and a handler that names none is open to the world. Who it is, the edge has found out
//! and written into the request's context.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use chrono::{DateTime, Utc};

use crate::access::{Access, Caller, Scope};
use crate::http::edge::RequestContext;
use crate::http::problem::Problem;

/// The operations that anybody may call. Every other one names one of the extractors below.
const PUBLIC_ROUTES: &[&str] = &[
    "GET /",
    "GET /health",
    "GET /healthz",
    "GET /live",
    "GET /ready",
    "GET /health/deep",
    "GET /api/v1/health",
    "GET /api/v1/status",
    "GET /api/v1/ready",
    "GET /api/v1/public/health",
    "GET /docs",
    "GET /openapi.json",
    "GET /problems/{code}",
    "GET /api/v1/pricing/plans",
    "GET /api/v1/pricing/plans/{id}",
    "POST /api/v1/pricing/checkout",
    "GET /api/v1/pricing/checkout/{checkout_id}",
    "GET /checkout/{checkout_id}",
    "GET /static/{name}",
    "POST /api/v1/public/events",
    "POST /api/v1/public/demo-request",
    // These two are opened by the secret in their bodies, and this one by the token in its path.
    "POST /api/v1/webhooks/moyasar",
    "POST /api/v1/pricing/webhooks/moyasar",
    "POST /api/v1/webhooks/moyasar/invoices/{token}",
];

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The scope that an operation wants, by rule; none if it is public. The documentation says so, and
/// a test tries every operation without a key and with one of another scope.
pub fn scope_of(method: &str, path: &str) -> Option<Scope> {
    if PUBLIC_ROUTES.contains(&&*format!("{method} {path}")) {
        return None;
    }
    let is_admin = path.starts_with("/api/v1/admin/");
    Some(match method {
        "GET" if is_admin => Scope::AdminRead,
        _ if is_admin || path.starts_with("/ops/") || path == "/metrics" => Scope::Admin,
        _ => Scope::Service,
    })
}

/// Declares an extractor for the callers of one scope.
macro_rules! extractor {
    ($(#[$doc:meta])* $name:ident, $scope:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                let context = parts.extensions.get::<RequestContext>();
                let caller = context.and_then(RequestContext::caller);
                let is_allowed =
                    caller.ok_or(Problem::Unauthenticated)?.scope.allows(Scope::$scope);
                if is_allowed { Ok(Self) } else { Err(Problem::Forbidden) }
            }
        }

        /// For routes that are open to all and tell more to some.
        impl<S: Sync> OptionalFromRequestParts<S> for $name {
            type Rejection = Infallible;

            async fn from_request_parts(
                parts: &mut Parts,
                state: &S,
            ) -> Result<Option<Self>, Infallible> {
                let extracted = <Self as FromRequestParts<S>>::from_request_parts(parts, state);
                Ok(extracted.await.ok())
            }
        }
    };
}

extractor! {
    /// One of our own front ends.
    ServiceCaller, Service
}
extractor! {
    /// Somebody who may look at everything.
    AdminReader, AdminRead
}
extractor! {
    /// Somebody who may do everything.
    Admin, Admin
}

/// Who sent the request, if its one credential is one of ours.
pub(super) fn caller_of(
    headers: &HeaderMap,
    access: &Access,
    now: DateTime<Utc>,
) -> Option<Caller> {
    let keys = headers.get_all(API_KEY).iter().map(|value| value.to_str().ok());
    let bearers = headers.get_all(header::AUTHORIZATION).iter().map(bearer);
    let mut credentials = keys.chain(bearers);
    // Whatever cannot be read is refused, and so is more than one credential: which of them counts
    // would depend on who looks.
    let credential = credentials.next()??;
    if credentials.any(|other| other != Some(credential)) {
        return None;
    }
    let is_token =
        headers.contains_key(header::AUTHORIZATION) && credential.split('.').count() == 3;
    if is_token {
        access.recognise_token(credential, now)
    } else {
        access.recognise_key(credential)
    }
}

/// What stands after `Bearer`.
fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}
