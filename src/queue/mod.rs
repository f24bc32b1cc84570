//! What we owe: Redis, which holds dead letters and nothing else.

use redis::{Client, ErrorKind, RedisError, RedisResult, ServerErrorKind};
use secrecy::{ExposeSecret, SecretString};

mod durability;
mod letter;
mod letters;
mod link;

pub use durability::Durability;
pub use letter::{Letter, Payload};
pub use letters::{Content, Counts, InHand, Letters, PushError, Pushed, Queue};

use link::Link;

/// The way to Redis. What a webhook waits for has a connection of its own.
#[derive(Clone)]
pub struct Redis {
    pushes: Link,
    rest: Link,
}

impl Redis {
    /// Reaches out to nothing yet, but needs a tokio runtime.
    pub fn new(url: &SecretString) -> RedisResult<Self> {
        let client = Client::open(url.expose_secret())?;
        Ok(Self { pushes: Link::new(&client)?, rest: Link::new(&client)? })
    }

    /// Asks whether it is there.
    pub async fn ping(&self) -> RedisResult<()> {
        self.rest.ask(&redis::cmd("PING")).await
    }

    /// Whether what it acknowledges survives its crash.
    pub async fn durability(&self) -> RedisResult<Durability> {
        let mut questions = redis::pipe();
        durability::ask(questions.ignore_errors());
        let answers = self.rest.ask_all(&questions).await?;
        durability::judge(&self.rest, answers).await
    }
}

/// Whether Redis refused who we are or what we may do.
pub fn is_denied(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm)
    ) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}
