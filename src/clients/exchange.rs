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

/// The longest pause that anybody can ask us for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(5);

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

/// `Retry-After`, which is a number of seconds or a date: what it asks for, as far as we believe it.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if let Ok(secs) = value.parse() {
        Duration::from_secs(secs)
    } else {
        let date = DateTime::parse_from_rfc2822(value).ok()?;
        (date.with_timezone(&Utc) - now).to_std().unwrap_or_default()
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &'static [u8]) -> Option<u64> {
        let now = "2026-11-20T09:00:00Z".parse().unwrap();
        let value = reqwest::header::HeaderValue::from_bytes(value).unwrap();
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_a_number_of_seconds() {
        assert_eq!(asked(b"0"), Some(0));
        assert_eq!(asked(b" 120 "), Some(120));
    }

    #[test]
    fn or_a_date() {
        assert_eq!(asked(b"Fri, 20 Nov 2026 09:02:00 GMT"), Some(120));
        assert_eq!(asked(b"Fri, 20 Nov 2026 08:59:59 GMT"), Some(0), "the past is now");
    }

    #[test]
    fn of_five_minutes_at_most() {
        for value in [&b"301"[..], b"18446744073709551615", b"Fri, 20 Nov 2099 09:00:00 GMT"] {
            assert_eq!(asked(value), Some(300));
        }
    }

    #[test]
    fn and_otherwise_nothing() {
        let nonsense: [&[u8]; 6] = [b"", b"soon", b"-1", b"1.5", b"99999999999999999999", b"\xff"];
        for value in nonsense {
            assert_eq!(asked(value), None);
        }
        assert_eq!(retry_after(&HeaderMap::new(), DateTime::UNIX_EPOCH), None);
    }

    #[test]
    fn segments_are_appended_to_the_root_and_escaped() {
        let under = |root: &str, segments: &[&str]| endpoint(&root.parse().unwrap(), segments);
        let api = "https://api.moyasar.com/v1";
        assert_eq!(under(api, &["a", "b"]).as_str(), "https://api.moyasar.com/v1/a/b");
        assert_eq!(under(&format!("{api}/"), &["a"]).as_str(), "https://api.moyasar.com/v1/a");
        assert_eq!(under("https://h", &["batch", ""]).as_str(), "https://h/batch/");
        assert_eq!(under(api, &["a/b?c"]).as_str(), "https://api.moyasar.com/v1/a%2Fb%3Fc");
    }
}
