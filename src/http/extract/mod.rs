//! Extractors that refuse with a [`Problem`], so that no answer is ever plain text and every fault
//! is named with its place.

#![expect(clippy::disallowed_types, reason = "this is the one place that wraps axum's extractors")]

use std::fmt::Display;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::http::Settings;
use crate::http::problem::Problem;
use crate::http::problems::{Fault, FieldError};

mod body;
mod faults;
mod text;

pub use body::{LARGE_BODIES, RawBody};

/// A JSON body; also an answer.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

/// A JSON body that may be left out, whatever the media type is then: operators type
/// `curl -X POST url`. An empty body means `{}`.
#[derive(Clone, Debug)]
pub struct OptionalJson<T>(pub T);

/// A JSON body, and the bytes that it was read from.
#[derive(Clone, Debug)]
pub struct RawJson<T> {
    pub value: T,
    pub body: Bytes,
}

/// The parameters in the path.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

/// The parameters in the query.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<S, T> FromRequest<S> for Json<T>
where
    S: Sync,
    T: DeserializeOwned,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        RawJson::from_request(request, state).await.map(|RawJson { value, .. }| Self(value))
    }
}

impl<S, T> FromRequest<S> for OptionalJson<T>
where
    S: Sync,
    T: DeserializeOwned,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        RawJson::optional(request, state).await.map(|RawJson { value, .. }| Self(value))
    }
}

impl<T: DeserializeOwned> RawJson<T> {
    /// Reads a body that may be left out, like [`OptionalJson`].
    pub async fn optional<S>(request: Request, state: &S) -> Result<Self, Problem>
    where
        S: Sync,
        Arc<Settings>: FromRef<S>,
    {
        let is_json = is_json(request.headers());
        let RawBody(body) = RawBody::from_request(request, state).await?;
        let body = match (body.is_empty(), is_json) {
            (true, _) => Bytes::from_static(b"{}"),
            (false, true) => body,
            (false, false) => return Err(Problem::UnsupportedMediaType),
        };
        parse(&body).map(|value| Self { value, body })
    }
}

impl<S, T> FromRequest<S> for RawJson<T>
where
    S: Sync,
    T: DeserializeOwned,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::UnsupportedMediaType);
        }
        let RawBody(body) = RawBody::from_request(request, state).await?;
        parse(&body).map(|value| Self { value, body })
    }
}

impl<S, T> FromRequestParts<S> for Path<T>
where
    S: Send + Sync,
    T: DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.path().contains("%00") {
            return Err(wrong_parameter(first_parameter(parts, state).await, Fault::ContainsNul));
        }
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(failure)) => {
                let name = if let ErrorKind::InvalidUtf8InPathParam { key }
                | ErrorKind::ParseErrorAtKey { key, .. }
                | ErrorKind::DeserializeError { key, .. } = failure.into_kind()
                {
                    key
                } else {
                    // A path of one parameter, parsed without its name.
                    first_parameter(parts, state).await
                };
                Err(wrong_parameter(name, Fault::InvalidValue))
            }
            Err(rejection) => Err(Problem::Internal(rejection.into())),
        }
    }
}

impl<S, T> FromRequestParts<S> for Query<T>
where
    S: Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("%00") {
            let pair = query.split('&').find(|pair| pair.contains("%00")).unwrap_or_default();
            let name = pair.split('=').next().unwrap_or_default();
            return Err(wrong_parameter(name, Fault::ContainsNul));
        }
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs)
            .map(Self)
            .map_err(|error| Problem::InvalidRequest(vec![faults::of(error.path(), error.inner())]))
    }
}

async fn first_parameter<S: Send + Sync>(parts: &mut Parts, state: &S) -> String {
    let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
    let first = parameters.as_ref().and_then(|all| all.iter().next());
    first.map_or_else(String::new, |(name, _)| name.to_owned())
}

fn wrong_parameter(name: impl Display, fault: Fault) -> Problem {
    Problem::InvalidRequest(vec![FieldError { pointer: format!("/{name}").into(), fault }])
}

/// Whether the body claims to be JSON: `application/json` or `application/…+json`, in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut parts = value.unwrap_or_default().split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let subtype = kind.strip_prefix("application/").unwrap_or_default();
    let charset = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("charset").then_some(value.trim_matches('"'))
    });
    (subtype == "json" || subtype.ends_with("+json"))
        && charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"))
}

/// Parses a body: 400 if it is not JSON, 422 if it is, but not what is wanted.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::InvalidJson)?;
    let look = text::look(text);
    if look.is_too_deep {
        return Err(Problem::InvalidJson);
    }
    if look.has_nul {
        let document = serde_json::from_str(text).map_err(|_| Problem::InvalidJson)?;
        return Err(Problem::InvalidRequest(faults::nuls(&document)));
    }
    if !text.trim_start().starts_with('{') && is_well_formed(text) {
        // serde would take an array for an object, its items for the fields.
        let error = FieldError { pointer: "".into(), fault: Fault::WrongType };
        return Err(Problem::InvalidRequest(vec![error]));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = serde_path_to_error::deserialize(&mut json);
    match parsed {
        Ok(value) => json.end().map(|()| value).map_err(|_| Problem::InvalidJson),
        // A wrong field (a number that fits nowhere is one) says nothing about the text behind it, so
        // that is looked at, too.
        Err(error) if is_well_formed(text) => {
            Err(Problem::InvalidRequest(vec![faults::of(error.path(), error.inner())]))
        }
        Err(_) => Err(Problem::InvalidJson),
    }
}

/// What an object that was read already stands for.
pub fn typed<T: DeserializeOwned>(object: Map<String, Value>) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Value::Object(object))
        .map_err(|error| Problem::InvalidRequest(vec![faults::of(error.path(), error.inner())]))
}

fn is_well_formed(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
