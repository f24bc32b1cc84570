//! The kinds of failure: their names, statuses and texts, and `GET /problems/{code}`, which explains
//! each to whoever follows the link in an answer.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

mod explain;
mod fields;
mod texts;

pub(super) use explain::routes;
pub use fields::{Fault, FieldError, Fields, LocalFieldError};

/// Declares every kind with its name and its contract in one row, so that none can be forgotten in
/// [`Code::ALL`].
macro_rules! codes {
    ($($code:ident = $name:literal, $status:ident, $retry:ident;)*) => {
        /// A kind of failure, for programs; never renamed.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
        #[serde(rename_all = "kebab-case")]
        #[schema(as = ProblemCode)]
        pub enum Code { $($code,)* }

        impl Code {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// Kebab-case, never renamed.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// The HTTP status it always has.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status,)* }
            }

            const fn retry(self) -> Retry {
                match self { $(Self::$code => Retry::$retry,)* }
            }
        }
    };
}

/// Whether the same request may succeed later without anybody changing it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    Later,
    Never,
}

codes! {
    RouteNotFound = "route-not-found", NOT_FOUND, Never;
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, Never;
    InvalidJson = "invalid-json", BAD_REQUEST, Never;
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, Never;
    InvalidRequest = "invalid-request", UNPROCESSABLE_ENTITY, Never;
    PayloadTooLarge = "payload-too-large", PAYLOAD_TOO_LARGE, Never;
    UriTooLong = "uri-too-long", URI_TOO_LONG, Never;
    MalformedRequest = "malformed-request", BAD_REQUEST, Never;
    HeadTooLarge = "head-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, Never;
    ClientTooSlow = "client-too-slow", REQUEST_TIMEOUT, Later;
    RequestTimeout = "request-timeout", GATEWAY_TIMEOUT, Later;
    Unauthenticated = "unauthenticated", UNAUTHORIZED, Never;
    Forbidden = "forbidden", FORBIDDEN, Never;
    RateLimited = "rate-limited", TOO_MANY_REQUESTS, Later;
    BadSignature = "bad-signature", UNAUTHORIZED, Never;
    PlanNotFound = "plan-not-found", NOT_FOUND, Never;
    CheckoutNotFound = "checkout-not-found", NOT_FOUND, Never;
    ReviewNotFound = "review-not-found", NOT_FOUND, Never;
    IdNotFound = "id-not-found", NOT_FOUND, Never;
    ReviewResolved = "review-resolved", CONFLICT, Never;
    BreakerNotFound = "breaker-not-found", NOT_FOUND, Never;
    QueueNotFound = "queue-not-found", NOT_FOUND, Never;
    EntryNotFound = "entry-not-found", NOT_FOUND, Never;
    EntryInFlight = "entry-in-flight", CONFLICT, Later;
    NotEditable = "not-editable", CONFLICT, Never;
    RedriveNotFound = "redrive-not-found", NOT_FOUND, Never;
    RedriveActive = "redrive-active", CONFLICT, Later;
    RedriveOver = "redrive-over", CONFLICT, Never;
    QueueUnavailable = "queue-unavailable", SERVICE_UNAVAILABLE, Later;
    UnknownPlan = "unknown-plan", BAD_REQUEST, Never;
    InvalidEmail = "invalid-email", BAD_REQUEST, Never;
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, Never;
    RequestInProgress = "request-in-progress", CONFLICT, Later;
    PaymentGatewayError = "payment-gateway-error", BAD_GATEWAY, Later;
    PaymentProviderError = "payment-provider-error", BAD_GATEWAY, Later;
    UpstreamUnavailable = "upstream-unavailable", SERVICE_UNAVAILABLE, Later;
    StorageUnavailable = "storage-unavailable", SERVICE_UNAVAILABLE, Later;
    ProblemNotFound = "problem-not-found", NOT_FOUND, Never;
    Internal = "internal", INTERNAL_SERVER_ERROR, Never;
}

impl Code {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        self.retry() == Retry::Later
    }

    /// The `type` of the answer, where it is explained.
    pub fn url(self) -> String {
        format!("https://api.dealix.me/problems/{}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clients have in their own code: a row may be added, none may be changed.
    #[test]
    fn every_kind_keeps_its_name_its_status_and_its_word_on_trying_again() {
        let kinds: Vec<_> = Code::ALL
            .iter()
            .map(|code| (code.name(), code.status().as_u16(), code.is_retryable()))
            .collect();
        assert_eq!(
            kinds,
            [
                ("route-not-found", 404, false),
                ("method-not-allowed", 405, false),
                ("invalid-json", 400, false),
                ("unsupported-media-type", 415, false),
                ("invalid-request", 422, false),
                ("payload-too-large", 413, false),
                ("uri-too-long", 414, false),
                ("malformed-request", 400, false),
                ("head-too-large", 431, false),
                ("client-too-slow", 408, true),
                ("request-timeout", 504, true),
                ("unauthenticated", 401, false),
                ("forbidden", 403, false),
                ("rate-limited", 429, true),
                ("bad-signature", 401, false),
                ("plan-not-found", 404, false),
                ("checkout-not-found", 404, false),
                ("review-not-found", 404, false),
                ("id-not-found", 404, false),
                ("review-resolved", 409, false),
                ("breaker-not-found", 404, false),
                ("queue-not-found", 404, false),
                ("entry-not-found", 404, false),
                ("entry-in-flight", 409, true),
                ("not-editable", 409, false),
                ("redrive-not-found", 404, false),
                ("redrive-active", 409, true),
                ("redrive-over", 409, false),
                ("queue-unavailable", 503, true),
                ("unknown-plan", 400, false),
                ("invalid-email", 400, false),
                ("idempotency-key-reused", 422, false),
                ("request-in-progress", 409, true),
                ("payment-gateway-error", 502, true),
                ("payment-provider-error", 502, true),
                ("upstream-unavailable", 503, true),
                ("storage-unavailable", 503, true),
                ("problem-not-found", 404, false),
                ("internal", 500, false),
            ]
        );
    }

    #[test]
    fn a_kind_is_found_by_its_name_and_explained_at_its_address() {
        assert_eq!(Code::named("plan-not-found"), Some(Code::PlanNotFound));
        assert_eq!(Code::named("internal"), Some(Code::Internal));
        assert_eq!(Code::named("PlanNotFound"), None);
        assert_eq!(Code::named(""), None);
        assert_eq!(Code::Internal.url(), "https://api.dealix.me/problems/internal");
    }
}
