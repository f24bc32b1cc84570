//! The running service, as a command on its own machine asks it: where it listens, with which key.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode, header, request};
use http_body::Body as HttpBody;
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
    credential: Credential,
    language: &'static str,
}

/// How we show who we are.
enum Credential {
    Key(SecretString),
    /// A token of a minute for each question.
    Token {
        access: Access,
        subject: String,
    },
}

/// What was answered: as it came, and as it is read.
#[derive(Debug)]
pub(super) struct Said {
    pub text: String,
    pub value: Value,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Nobody listens, or whoever does is frozen: the stores can be asked instead.
    #[error("the API at {address} is down: {cause}")]
    Down { address: SocketAddr, cause: String },
    /// The question was not liked.
    #[error("refused with {status}: {detail}")]
    Refused { status: StatusCode, detail: String, retry_after: Option<Duration> },
}

impl Api {
    /// Asks with tokens signed with our own secret; without one with our first admin key; without either
    /// it cannot be asked.
    pub fn of(loaded: &Loaded) -> Option<Self> {
        Self::speaking_for(SUBJECT, loaded)
    }

    /// The same for somebody: the actor in its audit, behind `token:`.
    pub fn speaking_for(subject: &str, loaded: &Loaded) -> Option<Self> {
        let auth = &loaded.config.auth;
        let credential = if !is_made_up(loaded, "JWT_SECRET_KEY") {
            Credential::Token { access: Access::new(auth), subject: subject.to_owned() }
        } else if let Some(key) = auth.admin_api_keys.first()
            && !is_made_up(loaded, "ADMIN_API_KEYS")
        {
            Credential::Key(key.clone())
        } else {
            return None;
        };
        Some(Self { address: address_of(&loaded.config.app), credential, language: "en" })
    }

    /// The same, answering in the language of that tag.
    pub fn speaking(self, language: &'static str) -> Self {
        Self { language, ..self }
    }

    /// What `GET` of a path answers.
    pub async fn get(&self, path: &str) -> Result<Value, Unanswered> {
        Ok(self.ask(Method::GET, path, None, SOON).await?.value)
    }

    /// What it answers to any question within `patience`.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        patience: Duration,
    ) -> Result<Said, Unanswered> {
        let answer = tokio::time::timeout(patience, self.exchange(method, path, body)).await;
        let cause = match answer {
            Ok(Ok(answer)) => return read(&answer),
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
        body: Option<String>,
    ) -> anyhow::Result<Response<Bytes>> {
        let credential = match &self.credential {
            Credential::Key(key) => key.clone(),
            Credential::Token { access, subject } => {
                let (ttl, now) = (Duration::from_mins(1), Clock::default().now());
                access.issue_token(subject, Scope::Admin, ttl, now)?.into()
            }
        };
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = question(method, path)
            .header(header::HOST, self.address.to_string())
            .header(header::USER_AGENT, concat!("dealix-api/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT_LANGUAGE, self.language)
            .header(header::AUTHORIZATION, format!("Bearer {}", credential.expose_secret()));
        let request = request.body(body.map_or_else(Body::empty, Body::from))?;
        let asking = async {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            Ok(Response::from_parts(parts, whole(body).await?))
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

/// The head of a question; whatever body it has is JSON.
pub(super) fn question(method: Method, path: &str) -> request::Builder {
    Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json")
}

/// A body, if it is not too long.
pub(super) async fn whole<B>(body: B) -> anyhow::Result<Bytes>
where
    B: HttpBody<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let body = Limited::new(body, LARGEST_ANSWER).collect().await;
    Ok(body.map_err(anyhow::Error::from_boxed).context("the answer broke off")?.to_bytes())
}

/// What an answer says.
pub(super) fn read(answer: &Response<Bytes>) -> Result<Said, Unanswered> {
    let (status, body) = (answer.status(), answer.body());
    let value: Option<Value> = serde_json::from_slice(body).ok();
    if status.is_success()
        && let Some(value) = value
    {
        return Ok(Said { text: String::from_utf8_lossy(body).into_owned(), value });
    }
    let detail = value.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    let detail = detail.unwrap_or("it is not ours, or of another release").to_owned();
    let seconds = answer.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok());
    let retry_after = seconds.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    Err(Unanswered::Refused { status, detail, retry_after })
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
        let answer = |status: u16, body: &'static str| {
            let answer = Response::builder().status(status).header(header::RETRY_AFTER, "7");
            read(&answer.body(Bytes::from_static(body.as_bytes())).unwrap())
        };
        let said = answer(200, r#"{"b":1.50, "a":1}"#).unwrap();
        assert_eq!(said.value, json!({"a": 1, "b": 1.5}));
        assert_eq!(said.text, r#"{"b":1.50, "a":1}"#, "as it came");
        let refused = answer(404, r#"{"detail":"no such id"}"#).unwrap_err();
        assert_eq!(refused.to_string(), "refused with 404 Not Found: no such id");
        for (status, body) in [(200, "<html>"), (502, "")] {
            let refused = answer(status, body).unwrap_err();
            assert!(refused.to_string().ends_with("it is not ours, or of another release"));
            let Unanswered::Refused { retry_after, .. } = refused else { panic!("{refused}") };
            assert_eq!(retry_after, Some(Duration::from_secs(7)));
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
        let credential = Credential::Key("key".to_owned().into());
        let api = Api { address, credential, language: "en" };
        let patience = Duration::from_millis(50);
        let down = api.ask(Method::GET, "/health", None, patience).await.unwrap_err();
        assert!(matches!(down, Unanswered::Down { .. }), "{down}");
        drop(frozen);
        let down = api.get("/health").await.unwrap_err();
        assert!(matches!(down, Unanswered::Down { .. }), "{down}");
    }
}
