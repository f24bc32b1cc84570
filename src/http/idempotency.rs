//! `Idempotency-Key`: reads the key and the fingerprint of a request, and says when an answer was given
//! before. What a key does is in `flows::idempotency`.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequest, MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::flows::idempotency::{Answered, IdempotencyKey};
use crate::http::Settings;
use crate::http::edge::RequestContext;
use crate::http::extract::{Json, RawJson};
use crate::http::problem::Problem;
use crate::http::problems::{Fault, FieldError};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Says that an answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

const LONGEST_KEY: usize = 255;

/// A JSON body, and the key that the client gave to its request.
pub struct Keyed<T> {
    pub body: T,
    pub key: Option<IdempotencyKey>,
}

impl<S, T> FromRequest<S> for Keyed<T>
where
    S: Sync,
    T: DeserializeOwned,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let scope = scope(&request);
        let key = key(request.headers())?;
        let RawJson { value, body } = RawJson::from_request(request, state).await?;
        let key = key.map(|digest| IdempotencyKey { scope, digest, fingerprint: print(&body) });
        Ok(Self { body: value, key })
    }
}

/// A JSON body that may be left out, and the key that the client gave to its order. What the path and
/// the query name is part of the order.
pub struct KeyedOrder<T> {
    pub body: T,
    pub key: Option<IdempotencyKey>,
}

impl<S, T> FromRequest<S> for KeyedOrder<T>
where
    S: Sync,
    T: DeserializeOwned,
    Arc<Settings>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let scope = scope(&request);
        let key = key(request.headers())?;
        let whole = request.uri().path_and_query().map_or("", |whole| whole.as_str()).to_owned();
        let RawJson { value, body } = RawJson::optional(request, state).await?;
        let key = key.map(|digest| {
            let fingerprint = Sha256::new().chain_update(whole).chain_update(print(&body));
            IdempotencyKey { scope, digest, fingerprint: fingerprint.finalize().into() }
        });
        Ok(Self { body: value, key })
    }
}

/// The caller and the route. Callers without a key of ours are all one: they share the route's keys.
fn scope(request: &Request) -> String {
    let context = request.extensions().get::<RequestContext>();
    let caller = context.and_then(RequestContext::caller);
    let caller = caller.map_or("anonymous", |caller| &caller.name);
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    format!("{caller} {} {route}", request.method())
}

/// The digest of the key, if there is one.
fn key(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Problem> {
    let mut keys = headers.get_all(KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let is_visible = key.as_bytes().iter().all(u8::is_ascii_graphic);
    if !is_visible || !(1..=LONGEST_KEY).contains(&key.len()) || keys.next().is_some() {
        let error =
            FieldError { pointer: "/Idempotency-Key".into(), fault: Fault::InvalidIdempotencyKey };
        return Err(Problem::InvalidRequest(vec![error]));
    }
    Ok(Some(Sha256::digest(key.as_bytes()).into()))
}

/// The same for all texts that mean the same JSON, as far as it can be told: neither blanks nor the order of fields count.
fn print(text: &[u8]) -> [u8; 32] {
    // A body may hold what no value can (such as 1e400) in a field that nobody reads.
    let Ok(value) = serde_json::from_slice(text) else { return Sha256::digest(text).into() };
    let mut canonical = Vec::new();
    write_sorted(&value, &mut canonical);
    Sha256::digest(canonical).into()
}

fn write_sorted(value: &Value, to: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            to.push(b'{');
            for (name, value) in fields {
                write_sorted(&Value::from(name.as_str()), to);
                to.push(b':');
                write_sorted(value, to);
                to.push(b',');
            }
            to.push(b'}');
        }
        Value::Array(items) => {
            to.push(b'[');
            for item in items {
                write_sorted(item, to);
                to.push(b',');
            }
            to.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            to.extend_from_slice(value.to_string().as_bytes());
        }
    }
}

/// An answer that may have been given before.
pub struct Replayable<T> {
    pub answer: T,
    pub is_replayed: bool,
}

impl<T> Replayable<T> {
    /// What the flow has answered, in words for the client.
    pub fn of<A>(answered: Answered<A>, tell: impl FnOnce(A) -> T) -> Self {
        let Answered { answer, is_replayed } = answered;
        Self { answer: tell(answer), is_replayed }
    }
}

impl<T: Serialize> IntoResponse for Replayable<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.answer).into_response();
        if self.is_replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &[&[u8]]) -> Result<Option<[u8; 32]>, Problem> {
        let header = |key: &&[u8]| (KEY, HeaderValue::from_bytes(key).unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in keys.iter().map(header) {
            headers.append(name, value);
        }
        key(&headers)
    }

    #[test]
    fn a_key_has_1_to_255_visible_characters() {
        let longest = [b'k'; LONGEST_KEY];
        for good in [b"k".as_slice(), b"\"8e03978e-40d5\"", b"!~", &longest] {
            assert!(read(&[good]).unwrap().is_some());
        }
        assert_eq!(read(&[]).unwrap(), None);
        let longer = [b'k'; LONGEST_KEY + 1];
        for bad in [b"".as_slice(), b"a b", "مفتاح".as_bytes(), b"\xff", b"a\tb", &longer] {
            let Err(Problem::InvalidRequest(errors)) = read(&[bad]) else { panic!("{bad:?}") };
            assert_eq!(errors[0].pointer, "/Idempotency-Key");
        }
        assert!(read(&[b"one", b"one"]).is_err(), "which of them counts?");
    }

    #[test]
    fn blanks_and_the_order_of_fields_do_not_count_and_all_else_does() {
        let text = r#"{"a":1,"b":{"c":[1,2],"d":"x"}}"#;
        assert_eq!(
            print(text.as_bytes()),
            print(b"{ \"b\": {\"d\":\"x\", \"c\":[1, 2]},\n\"a\": 1 }")
        );
        for other in [
            r#"{"a":1,"b":{"c":[2,1],"d":"x"}}"#,
            r#"{"a":"1","b":{"c":[1,2],"d":"x"}}"#,
            r#"{"a":1,"b":{"c":[1,2],"d":"x"},"e":null}"#,
            r#"{"a":1,"b":{"c":[1],"d":"x"}}"#,
        ] {
            assert_ne!(print(text.as_bytes()), print(other.as_bytes()), "{other}");
        }
    }
}
