//! Failures as the client sees them: `application/problem+json`, RFC 9457.
//!
//! A handler returns a [`Problem`]; it travels in the response's extensions to the edge, the only
//! place that knows the language, the path and the request id, and there becomes a body and, once,
//! a line in the log. What the codes mean and say is in `problems`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::db;
use crate::http::edge::RequestContext;
use crate::http::language::Language;
use crate::http::problems::{Code, FieldError, LocalFieldError};

/// The media type of every failure.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"dealix-api\"");

/// How long to wait for a store of ours that is away.
pub(super) const STORAGE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Every way a request can fail.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("no such route")]
    RouteNotFound,
    #[error("the route does not take this method")]
    MethodNotAllowed,
    #[error("the body is not JSON")]
    InvalidJson,
    #[error("the body has another media type")]
    UnsupportedMediaType,
    #[error("{} fields are invalid", .0.len())]
    InvalidRequest(Vec<FieldError>),
    #[error("the body is too large")]
    PayloadTooLarge,
    #[error("the URI is too long")]
    UriTooLong,
    #[error("the request is no HTTP")]
    MalformedRequest,
    #[error("the request head is too large")]
    HeadTooLarge,
    #[error("the client took too long to send its request")]
    ClientTooSlow,
    #[error("the request took too long")]
    RequestTimeout,
    #[error("the caller is unknown")]
    Unauthenticated,
    #[error("the caller may not do this")]
    Forbidden,
    #[error("the budget is used up")]
    RateLimited { retry_after: Duration },
    #[error("the webhook does not carry our secret")]
    BadSignature,
    #[error("the webhook is not a JSON object")]
    WebhookInvalidJson,
    #[error("no such plan")]
    PlanNotFound,
    #[error("no such checkout")]
    CheckoutNotFound,
    #[error("no such review")]
    ReviewNotFound,
    #[error("nothing bears that name")]
    IdNotFound,
    #[error("the review is resolved already")]
    ReviewResolved,
    #[error("no such circuit breaker")]
    BreakerNotFound,
    #[error("no such queue")]
    QueueNotFound,
    #[error("no such entry")]
    EntryNotFound,
    #[error("somebody has the entry in hand")]
    EntryInFlight,
    #[error("the entry cannot be edited")]
    NotEditable,
    #[error("no such redrive")]
    RedriveNotFound,
    #[error("the queue is being redriven")]
    RedriveActive,
    #[error("the redrive is over")]
    RedriveOver,
    #[error("no such plan")]
    UnknownPlan(String),
    #[error("the e-mail address is invalid")]
    InvalidEmail,
    #[error("the idempotency key stands for another request")]
    IdempotencyKeyReused,
    #[error("the same request is in progress")]
    RequestInProgress { retry_after: Duration },
    #[error("the payment gateway failed")]
    PaymentGatewayError,
    #[error("the payment provider failed")]
    PaymentProviderError,
    #[error("an upstream service is unavailable")]
    UpstreamUnavailable { retry_after: Duration },
    #[error("a store is unavailable")]
    StorageUnavailable { retry_after: Duration },
    #[error("the dead-letter queues are unavailable")]
    QueueUnavailable { retry_after: Duration },
    #[error("no such problem")]
    UnknownCode,
    /// Anything the client can do nothing about. The cause is logged, never sent.
    #[error("the server failed to handle the request")]
    Internal(#[from] anyhow::Error),
}

impl Problem {
    /// What stands for an answer that a library made up by itself.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::RouteNotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::ClientTooSlow,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::URI_TOO_LONG => Self::UriTooLong,
            StatusCode::BAD_REQUEST => Self::MalformedRequest,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::HeadTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::UNPROCESSABLE_ENTITY => Self::InvalidRequest(Vec::new()),
            _ => Self::Internal(anyhow::anyhow!("a library answered {status}")),
        }
    }

    /// The name of this failure, with its status and texts. No wildcard: a new variant must choose.
    pub fn code(&self) -> Code {
        match self {
            Self::RouteNotFound => Code::RouteNotFound,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::InvalidJson | Self::WebhookInvalidJson => Code::InvalidJson,
            Self::UnsupportedMediaType => Code::UnsupportedMediaType,
            Self::InvalidRequest(_) => Code::InvalidRequest,
            Self::PayloadTooLarge => Code::PayloadTooLarge,
            Self::UriTooLong => Code::UriTooLong,
            Self::MalformedRequest => Code::MalformedRequest,
            Self::HeadTooLarge => Code::HeadTooLarge,
            Self::ClientTooSlow => Code::ClientTooSlow,
            Self::RequestTimeout => Code::RequestTimeout,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Forbidden => Code::Forbidden,
            Self::RateLimited { .. } => Code::RateLimited,
            Self::BadSignature => Code::BadSignature,
            Self::PlanNotFound => Code::PlanNotFound,
            Self::CheckoutNotFound => Code::CheckoutNotFound,
            Self::ReviewNotFound => Code::ReviewNotFound,
            Self::IdNotFound => Code::IdNotFound,
            Self::ReviewResolved => Code::ReviewResolved,
            Self::BreakerNotFound => Code::BreakerNotFound,
            Self::QueueNotFound => Code::QueueNotFound,
            Self::EntryNotFound => Code::EntryNotFound,
            Self::EntryInFlight => Code::EntryInFlight,
            Self::NotEditable => Code::NotEditable,
            Self::RedriveNotFound => Code::RedriveNotFound,
            Self::RedriveActive => Code::RedriveActive,
            Self::RedriveOver => Code::RedriveOver,
            Self::QueueUnavailable { .. } => Code::QueueUnavailable,
            Self::UnknownPlan(_) => Code::UnknownPlan,
            Self::InvalidEmail => Code::InvalidEmail,
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Self::RequestInProgress { .. } => Code::RequestInProgress,
            Self::PaymentGatewayError => Code::PaymentGatewayError,
            Self::PaymentProviderError => Code::PaymentProviderError,
            Self::UpstreamUnavailable { .. } => Code::UpstreamUnavailable,
            Self::StorageUnavailable { .. } => Code::StorageUnavailable,
            Self::UnknownCode => Code::ProblemNotFound,
            Self::Internal(_) => Code::Internal,
        }
    }

    /// What a person reads. The ones that clients compare are literal in every language.
    fn detail(&self, language: Language) -> Cow<'static, str> {
        match self {
            Self::BadSignature => "bad_signature".into(),
            Self::WebhookInvalidJson => "invalid_json".into(),
            Self::UnknownPlan(plan) => format!("unknown_plan: {plan}").into(),
            Self::InvalidEmail => "invalid_email".into(),
            Self::PaymentProviderError => "payment_provider_error".into(),
            Self::RouteNotFound
            | Self::MethodNotAllowed
            | Self::InvalidJson
            | Self::UnsupportedMediaType
            | Self::InvalidRequest(_)
            | Self::PayloadTooLarge
            | Self::UriTooLong
            | Self::MalformedRequest
            | Self::HeadTooLarge
            | Self::ClientTooSlow
            | Self::RequestTimeout
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::RateLimited { .. }
            | Self::PlanNotFound
            | Self::CheckoutNotFound
            | Self::IdempotencyKeyReused
            | Self::RequestInProgress { .. }
            | Self::ReviewNotFound
            | Self::IdNotFound
            | Self::ReviewResolved
            | Self::BreakerNotFound
            | Self::QueueNotFound
            | Self::EntryNotFound
            | Self::EntryInFlight
            | Self::NotEditable
            | Self::RedriveNotFound
            | Self::RedriveActive
            | Self::RedriveOver
            | Self::QueueUnavailable { .. }
            | Self::PaymentGatewayError
            | Self::UpstreamUnavailable { .. }
            | Self::StorageUnavailable { .. }
            | Self::UnknownCode
            | Self::Internal(_) => self.code().texts(language).detail.into(),
        }
    }

    /// What else the answer's head says.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::RateLimited { retry_after }
            | Self::RequestInProgress { retry_after }
            | Self::UpstreamUnavailable { retry_after }
            | Self::StorageUnavailable { retry_after }
            | Self::QueueUnavailable { retry_after } => {
                // Rounded up, so that nobody who obeys comes too early.
                let seconds = retry_after.as_millis().div_ceil(1000).max(1);
                let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
                Some((header::RETRY_AFTER, HeaderValue::from(seconds)))
            }
            Self::Unauthenticated => Some((header::WWW_AUTHENTICATE, CHALLENGE)),
            Self::RouteNotFound
            | Self::MethodNotAllowed
            | Self::InvalidJson
            | Self::UnsupportedMediaType
            | Self::InvalidRequest(_)
            | Self::PayloadTooLarge
            | Self::UriTooLong
            | Self::MalformedRequest
            | Self::HeadTooLarge
            | Self::ClientTooSlow
            | Self::RequestTimeout
            | Self::Forbidden
            | Self::BadSignature
            | Self::WebhookInvalidJson
            | Self::PlanNotFound
            | Self::CheckoutNotFound
            | Self::ReviewNotFound
            | Self::IdNotFound
            | Self::ReviewResolved
            | Self::BreakerNotFound
            | Self::QueueNotFound
            | Self::EntryNotFound
            | Self::EntryInFlight
            | Self::NotEditable
            | Self::RedriveNotFound
            | Self::RedriveActive
            | Self::RedriveOver
            | Self::UnknownPlan(_)
            | Self::InvalidEmail
            | Self::IdempotencyKeyReused
            | Self::PaymentGatewayError
            | Self::PaymentProviderError
            | Self::UnknownCode
            | Self::Internal(_) => None,
        }
    }

    fn errors(&self, language: Language) -> Option<Vec<LocalFieldError>> {
        let Self::InvalidRequest(errors) = self else { return None };
        Some(errors.iter().map(|error| error.in_language(language)).collect())
    }

    /// The body of the answer to one request.
    pub(super) fn body(&self, context: &RequestContext) -> Vec<u8> {
        let (code, language) = (self.code(), context.language());
        let body = ProblemBody {
            kind: code.url(),
            title: code.texts(language).title.into(),
            status: code.status().as_u16(),
            detail: self.detail(language).into_owned(),
            instance: context.path().to_owned(),
            code,
            request_id: context.request_id().to_owned(),
            retryable: code.is_retryable(),
            errors: self.errors(language),
        };
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// The body is written by the edge; until then the problem itself is what counts.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code().status().into_response();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// A failure.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Identifies the kind of failure and explains it when opened.
    #[serde(rename = "type")]
    #[schema(value_type = String, format = Uri, examples("https://api.dealix.me/problems/invalid-request"))]
    kind: String,
    /// The kind of failure, for people, in the client's language.
    #[schema(value_type = String, examples("The request is invalid"))]
    title: Cow<'static, str>,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, examples(422))]
    status: u16,
    /// What happened, for people, in the client's language.
    #[schema(examples("Some fields are missing or wrong; see errors."))]
    detail: String,
    /// The path that was asked for.
    #[schema(examples("/api/v1/pricing/checkout"))]
    instance: String,
    code: Code,
    /// Quote it when you ask us for help.
    #[schema(examples("019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f"))]
    request_id: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// What is wrong with which field.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    errors: Option<Vec<LocalFieldError>>,
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if db::is_outage(&error) {
            tracing::warn!(%error, "Postgres did not serve a request: {error}");
            return Self::StorageUnavailable { retry_after: STORAGE_RETRY_AFTER };
        }
        Self::Internal(error.into())
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::app::AppState;
    use crate::http::dress;
    use crate::http::problems::Fault;

    /// What a client that reads `language` gets when a handler fails so.
    async fn answered(problem: fn() -> Problem, language: &str) -> Value {
        let routes = Router::new().route("/orders", get(async move || problem()));
        let front = dress(routes, AppState::without_stores(&[]));
        let request = Request::get("/orders?page=2")
            .header(header::ACCEPT_LANGUAGE, language)
            .header("x-request-id", "abc");
        let answer = front.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    fn two_wrong_fields() -> Problem {
        let wrong = |pointer: &'static str, fault| FieldError { pointer: pointer.into(), fault };
        Problem::InvalidRequest(vec![
            wrong("/email", Fault::InvalidEmail),
            wrong("/name", Fault::TooLong { max: 80 }),
        ])
    }

    #[tokio::test]
    async fn the_body_says_all_there_is_to_say_in_the_language_of_the_client() {
        assert_eq!(
            answered(two_wrong_fields, "en").await,
            json!({
                "type": "https://api.dealix.me/problems/invalid-request",
                "title": "The request is invalid",
                "status": 422,
                "detail": "Some fields are missing or wrong; see errors.",
                "instance": "/orders",
                "code": "invalid-request",
                "request_id": "abc",
                "retryable": false,
                "errors": [
                    { "pointer": "/email", "detail": "This is not an e-mail address." },
                    { "pointer": "/name", "detail": "At most 80 characters are allowed." },
                ],
            })
        );
        let arabic = answered(two_wrong_fields, "ar").await;
        assert_eq!(arabic["title"], "الطلب غير صالح");
        assert_eq!(arabic["detail"], "بعض الحقول ناقصة أو غير صحيحة؛ راجع errors.");
        assert_eq!(arabic["errors"][0]["detail"], "هذا ليس عنوان بريد إلكتروني صحيحًا.");
        assert_eq!(arabic["errors"][1]["detail"], "الحد الأقصى لعدد الأحرف هو 80.");
        assert_eq!(arabic["code"], "invalid-request");
    }

    #[tokio::test]
    async fn a_body_without_wrong_fields_has_no_errors_and_says_whether_to_try_again() {
        let problem = || Problem::StorageUnavailable { retry_after: STORAGE_RETRY_AFTER };
        assert_eq!(
            answered(problem, "en").await,
            json!({
                "type": "https://api.dealix.me/problems/storage-unavailable",
                "title": "Storage temporarily unavailable",
                "status": 503,
                "detail": "Our storage does not answer. Try again after the time in Retry-After.",
                "instance": "/orders",
                "code": "storage-unavailable",
                "request_id": "abc",
                "retryable": true,
            })
        );
    }

    #[test]
    fn what_a_library_answers_by_itself_is_one_of_our_failures() {
        for (status, code) in [
            (StatusCode::NOT_FOUND, Code::RouteNotFound),
            (StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed),
            (StatusCode::REQUEST_TIMEOUT, Code::ClientTooSlow),
            (StatusCode::PAYLOAD_TOO_LARGE, Code::PayloadTooLarge),
            (StatusCode::URI_TOO_LONG, Code::UriTooLong),
            (StatusCode::BAD_REQUEST, Code::MalformedRequest),
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Code::HeadTooLarge),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::UnsupportedMediaType),
            (StatusCode::UNPROCESSABLE_ENTITY, Code::InvalidRequest),
            (StatusCode::IM_A_TEAPOT, Code::Internal),
            (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
        ] {
            assert_eq!(Problem::of_status(status).code(), code, "{status}");
        }
    }

    #[test]
    fn until_the_edge_writes_its_body_a_failure_is_a_status_and_the_problem_itself() {
        let response = Problem::UnknownPlan("gold".to_owned()).into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let problem = response.extensions().get::<Arc<Problem>>().unwrap();
        assert!(matches!(&**problem, Problem::UnknownPlan(plan) if plan == "gold"));
        assert!(response.headers().is_empty());
    }

    #[test]
    fn who_is_unknown_is_told_how_to_make_himself_known() {
        let response = Problem::Unauthenticated.into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"dealix-api\"");
        assert_eq!(response.headers().len(), 1);
    }

    #[test]
    fn a_store_that_is_away_is_told_from_a_statement_that_is_wrong() {
        let problem = Problem::from(sqlx::Error::PoolTimedOut);
        assert!(matches!(problem, Problem::StorageUnavailable { .. }));
        assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], "5");
        assert!(matches!(Problem::from(sqlx::Error::RowNotFound), Problem::Internal(_)));
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (millis, seconds) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (59_999, "60")] {
            let retry_after = Duration::from_millis(millis);
            let response = Problem::UpstreamUnavailable { retry_after }.into_response();
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds);
        }
    }
}
