//! One exchange with an external service: send, judge the status, read a body of bounded size.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use serde::de::DeserializeOwned;
use url::Url;

use crate::clients::{ClientError, Flaw};
use crate::clock::Clock;

/// The largest answer that is read. A page of 40 invoices with their payments has about 200 KiB.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// Sends the request; an answer other than 2xx is an error, and its body stays unread.
pub(super) async fn send(
    client: &'static str,
    clock: &Clock,
    request: RequestBuilder,
) -> Result<Response, ClientError> {
    let response = request.send().await.map_err(|source| lost(client, source))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(response.headers(), clock.now());
    Err(ClientError::Status { client, status, retry_after })
}

/// Reads an answer that says nothing, so that its connection can be used again.
pub(super) async fn drain(mut response: Response) {
    let mut length = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        length += chunk.len();
        if length > LARGEST_ANSWER {
            return;
        }
    }
}

/// Reads the answer as JSON.
pub(super) async fn read_json<T: DeserializeOwned>(
    client: &'static str,
    mut response: Response,
) -> Result<T, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|source| lost(client, source))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(ClientError::Unreadable { client, flaw: Flaw::TooLarge });
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body)
        .map_err(|error| ClientError::Unreadable { client, flaw: flaw(&error) })
}

/// Appends path segments to the root of an API, whether or not that ends in a slash.
pub(super) fn endpoint(root: &Url, segments: &[&str]) -> Url {
    let mut url = root.clone();
    // Only URLs such as `mailto:` have no segments; asking one of them fails as any bad host does.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// The error without the URL, which may name a customer's invoice.
fn lost(client: &'static str, source: reqwest::Error) -> ClientError {
    ClientError::Unreachable { client, source: source.without_url() }
}

fn flaw(error: &serde_json::Error) -> Flaw {
    let (line, column) = (error.line(), error.column());
    if error.is_data() { Flaw::OtherShape { line, column } } else { Flaw::NotJson { line, column } }
}

/// `Retry-After`, which is a number of seconds or a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(secs) = value.parse() {
        return Some(Duration::from_secs(secs));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some((date.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}
