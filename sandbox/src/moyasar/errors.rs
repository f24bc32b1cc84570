//! Moyasar's error bodies: `{"type", "message", "errors"}`.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

/// A refusal as the API answers it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) body: ErrorBody,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ErrorBody {
    r#type: &'static str,
    pub(crate) message: String,
    errors: Value,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: &str) -> Self {
        let body = ErrorBody { r#type: kind, message: message.to_owned(), errors: Value::Null };
        Self { status, body }
    }

    /// 400: the state of the thing does not allow it.
    pub(crate) fn refused(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "record_not_found", "Object not found")
    }

    pub(crate) fn wrong_code() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "webhook_verification_invalid",
            "The verification code is wrong or has expired.",
        )
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "Invalid authorization credentials",
        )
    }

    pub(crate) fn forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "authentication_error",
            "This API key is not allowed to do this",
        )
    }

    /// The documented body of a status, for answers made up on demand.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (kind, message) = match status.as_u16() {
            401 => return Self::unauthenticated(),
            403 => return Self::forbidden(),
            404 => return Self::not_found(),
            405 => ("account_inactive_error", "Account is not activated"),
            429 => ("rate_limit_error", "Too many requests"),
            503 => ("api_error", "Service is under maintenance"),
            500..=599 => ("api_error", "Internal server error"),
            _ => ("invalid_request_error", "The request was refused"),
        };
        Self::new(status, kind, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// What the proxy in front of the API answers to a client that does not say who it is.
pub(crate) fn blocked_by_the_proxy() -> Response {
    let page = "<!DOCTYPE html><html><head><title>Access denied</title></head>\
         <body><h1>403 Forbidden</h1></body></html>\n";
    (StatusCode::FORBIDDEN, Html(page)).into_response()
}

/// Collects what is wrong with a body, field by field.
#[derive(Debug, Default)]
pub(crate) struct FieldErrors(BTreeMap<&'static str, Vec<String>>);

impl FieldErrors {
    pub(crate) fn add(&mut self, field: &'static str, message: impl Into<String>) {
        self.0.entry(field).or_default().push(message.into());
    }

    pub(crate) fn into_result(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut error =
            ApiError::new(StatusCode::BAD_REQUEST, "validation_error", "Validation Failed");
        error.body.errors = json!(self.0);
        Err(error)
    }

    pub(crate) fn one(field: &'static str, message: impl Into<String>) -> ApiError {
        let mut errors = Self::default();
        errors.add(field, message);
        match errors.into_result() {
            Err(error) => error,
            Ok(()) => ApiError::refused("Validation Failed"),
        }
    }
}
