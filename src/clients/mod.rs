//! Whom we call: one file per external service, every call behind that service's breaker.

use std::time::Duration;

use reqwest::StatusCode;

pub mod alerts;
pub mod breaker;
pub mod breakers;
pub mod health;
pub mod moyasar;
pub mod posthog;
pub mod sentry;

mod exchange;
#[cfg(test)]
mod stub;

/// The class of a call that was not even tried, because its breaker is open.
pub const BREAKER_OPEN: &str = "breaker_open";

/// Why a call to an external service gave no usable answer. Carries nothing that the service said.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// We did not even try: its breaker is open.
    #[error("{client} is not called for another {}s: its breaker is open", retry_after.as_secs())]
    BreakerOpen { client: &'static str, retry_after: Duration },
    /// We did not even try: this process was told to call nobody.
    #[error("{client} is not called: this process is passive")]
    Passive { client: &'static str },
    /// The request or its answer was lost on the way; it may have had its effect.
    #[error("{client} could not be reached")]
    Unreachable {
        client: &'static str,
        #[source]
        source: reqwest::Error,
    },
    /// The service answered, but not with success.
    #[error("{client} answered {status}")]
    Status { client: &'static str, status: StatusCode, retry_after: Option<Duration> },
    /// The service answered with success and a body that makes no sense; it had its effect.
    #[error("{client} answered what cannot be read: {flaw}")]
    Unreadable { client: &'static str, flaw: Flaw },
}

/// What is wrong with a body. The parser's own words are left out: they quote the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Flaw {
    /// It is longer than any answer we know.
    #[error("the body is too large")]
    TooLarge,
    /// It is no JSON, or ends in the middle of it.
    #[error("the body is no JSON (line {line}, column {column})")]
    NotJson { line: usize, column: usize },
    /// It lacks what cannot be done without.
    #[error("the body has no `{0}`")]
    Lacks(&'static str),
    /// It tells of something else than was asked for.
    #[error("the body tells of something else")]
    NotAsked,
    /// It goes on for longer than is read.
    #[error("the list is cut short")]
    CutShort,
    /// It is JSON of another shape.
    #[error("the body has another shape (line {line}, column {column})")]
    OtherShape { line: usize, column: usize },
}

impl ClientError {
    /// Whether the service itself is failing, as opposed to refusing this one request.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // What is no JSON came from somebody in between; another shape is the service's own.
            Self::Unreadable { flaw, .. } => matches!(flaw, Flaw::TooLarge | Flaw::NotJson { .. }),
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            Self::BreakerOpen { .. } | Self::Passive { .. } => false,
        }
    }

    /// Whether the call may have had its effect although it gave no answer.
    pub fn is_uncertain(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.is_connect(),
            Self::Unreadable { .. } => true,
            // Only a 4xx says that nothing was done, except one that gave up waiting: it may come from
            // somebody in between, and the request have arrived all the same.
            Self::Status { status, .. } => {
                !status.is_client_error() || *status == StatusCode::REQUEST_TIMEOUT
            }
            Self::BreakerOpen { .. } | Self::Passive { .. } => false,
        }
    }

    /// How long the service, or its breaker, wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::BreakerOpen { retry_after, .. } => Some(*retry_after),
            Self::Status { retry_after, .. } => *retry_after,
            Self::Passive { .. } | Self::Unreachable { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// Whether the service itself answered that it will not do this.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Unreadable { .. }) && !self.is_outage()
    }

    /// Whether the service itself will not do this one thing; a key that it does not take says nothing
    /// of what was asked for.
    pub fn is_refusal(&self) -> bool {
        self.is_answer() && !self.is_denied()
    }

    /// Whether the service does not know our key, or gives it too few rights.
    pub fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }
        )
    }

    /// A word for health checks, metrics and records: never carries what the service said.
    pub fn class(&self) -> &'static str {
        match self {
            Self::BreakerOpen { .. } => BREAKER_OPEN,
            Self::Passive { .. } => "passive",
            Self::Unreachable { source, .. } if source.is_timeout() => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::Status { status, .. } => match *status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "auth",
                StatusCode::TOO_MANY_REQUESTS => "rate_limited",
                status if status.is_server_error() => "server_error",
                _ => "refused",
            },
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

/// The HTTP client every external call is made with: no redirects, our name, a deadline, and no
/// proxy that a stray variable of the environment could put between us and a bank.
#[expect(clippy::disallowed_methods, reason = "this is the one place that builds clients")]
pub fn http_client(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(3)))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("dealix-api/", env!("CARGO_PKG_VERSION")))
        .build()
}
