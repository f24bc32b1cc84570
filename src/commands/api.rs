//! The running service, as a command on its own machine asks it: where it listens, with which key.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::net::TcpStream;

use super::is_made_up;
use crate::access::{Access, Scope};
use crate::clock::Clock;
use crate::config::{AppConfig, Loaded};

/// How long an answer may take that is not worked for.
pub(super) const SOON: Duration = Duration::from_secs(5);

/// Longest answer that is read.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Who we are to the service: the actor in its audit, behind `token:`.
const SUBJECT: &str = "cli";

/// Said where the running service cannot be asked.
pub(super) const NO_KEY: &str = "error: neither JWT_SECRET_KEY nor ADMIN_API_KEYS is set: a running service has made up its own";

/// The service that the settings describe, on this machine.
pub(super) struct Api {
    address: SocketAddr,
    credential: SecretString,
    language: &'static str,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Nobody listens, or whoever does is frozen: the stores can be asked instead.
    #[error("the API at {address} is down: {cause}")]
    Down { address: SocketAddr, cause: String },
    /// It did not like the question.
    #[error("the API answered {status}: {detail}")]
    Refused { status: StatusCode, detail: String },
}

impl Api {
    /// Asks with a token of a minute, signed with our own secret; without one with our first admin key;
    /// without either it cannot be asked.
    pub fn of(loaded: &Loaded) -> anyhow::Result<Option<Self>> {
        let auth = &loaded.config.auth;
        let credential = if !is_made_up(loaded, "JWT_SECRET_KEY") {
            let (access, ttl) = (Access::new(auth), Duration::from_mins(1));
            access.issue_token(SUBJECT, Scope::Admin, ttl, Clock::default().now())?.into()
        } else if let Some(key) = auth.admin_api_keys.first()
            && !is_made_up(loaded, "ADMIN_API_KEYS")
        {
            key.clone()
        } else {
            return Ok(None);
        };
        Ok(Some(Self { address: address_of(&loaded.config.app), credential, language: "en" }))
    }

    /// The same, answering in the language of that tag.
    pub fn speaking(self, language: &'static str) -> Self {
        Self { language, ..self }
    }

    /// What `GET` of a path answers.
    pub async fn get(&self, path: &str) -> Result<Value, Unanswered> {
        self.ask(Method::GET, path, None, SOON).await
    }

    /// What it answers to any question within `patience`.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<Value, Unanswered> {
        let answer = tokio::time::timeout(patience, self.exchange(method, path, body)).await;
        let cause = match answer {
            Ok(Ok((status, body))) => return read(status, &body),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("no answer within {} s", patience.as_secs()),
        };
        Err(Unanswered::Down { address: self.address, cause })
    }

    /// By hand: it must not depend on proxies, certificates or names.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::USER_AGENT, concat!("dealix-api/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT_LANGUAGE, self.language)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.credential.expose_secret()));
        let request = match body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                request.body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        let asking = async {
            let answer = sender.send_request(request?).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
            let body = body.map_err(anyhow::Error::from_boxed).context("the answer broke off")?;
            Ok((status, body.to_bytes()))
        };
        let asking = std::pin::pin!(asking);
        let mut connection = std::pin::pin!(connection);
        let mut asking = asking;
        tokio::select! {
            answer = &mut asking => answer,
            // Its end may come with the answer.
            end = &mut connection => {
                end?;
                asking.await
            }
        }
    }
}

fn read(status: StatusCode, body: &[u8]) -> Result<Value, Unanswered> {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    if status.is_success()
        && let Some(body) = body
    {
        return Ok(body);
    }
    let detail = body.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    let detail = detail.unwrap_or("it is not ours, or of another release").to_owned();
    Err(Unanswered::Refused { status, detail })
}

/// Where a service with these settings is reached from its own machine.
pub(super) fn address_of(app: &AppConfig) -> SocketAddr {
    let loopback: IpAddr = match app.host {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(if app.host.is_unspecified() { loopback } else { app.host }, app.port)
}

/// A text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    let encode = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_on_every_address_is_asked_on_loopback() {
        let own = |host: &str| {
            let sources = crate::config::Sources {
                environment: [("APP_ENV", "test"), ("APP_HOST", host), ("APP_PORT", "8001")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                ..crate::config::Sources::default()
            };
            address_of(&crate::config::load(&sources).unwrap().config.app).to_string()
        };
        assert_eq!(own("0.0.0.0"), "127.0.0.1:8001");
        assert_eq!(own("::"), "[::1]:8001");
        assert_eq!(own("203.0.113.7"), "203.0.113.7:8001");
    }

    #[test]
    fn an_answer_is_json_with_a_2xx_and_a_refusal_says_why() {
        assert_eq!(read(StatusCode::OK, b"{\"a\":1}").unwrap(), json!({"a": 1}));
        let refused = read(StatusCode::NOT_FOUND, b"{\"detail\":\"no such id\"}").unwrap_err();
        assert_eq!(refused.to_string(), "the API answered 404 Not Found: no such id");
        for (status, body) in [(StatusCode::OK, "<html>"), (StatusCode::BAD_GATEWAY, "")] {
            let refused = read(status, body.as_bytes()).unwrap_err();
            assert!(refused.to_string().ends_with("it is not ours, or of another release"));
        }
    }

    #[test]
    fn whatever_is_asked_for_stays_one_segment() {
        assert_eq!(segment("moyasar:e/1?x#y"), "moyasar%3Ae%2F1%3Fx%23y");
        assert_eq!(segment("a.b-c_d~e"), "a%2Eb-c_d~e");
        assert_eq!(segment("سارة@مثال"), "%D8%B3%D8%A7%D8%B1%D8%A9%40%D9%85%D8%AB%D8%A7%D9%84");
    }

    #[tokio::test]
    async fn where_nobody_listens_or_answers_the_api_is_down() {
        let frozen = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = frozen.local_addr().unwrap();
        let api = Api { address, credential: "key".to_owned().into(), language: "en" };
        let patience = Duration::from_millis(50);
        let down = api.ask(Method::GET, "/health", None, patience).await.unwrap_err();
        assert!(matches!(down, Unanswered::Down { .. }), "{down}");
        drop(frozen);
        let down = api.get("/health").await.unwrap_err();
        assert!(matches!(down, Unanswered::Down { .. }), "{down}");
    }
}
