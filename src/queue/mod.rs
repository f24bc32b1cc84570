//! What we owe: Redis, which holds dead letters and nothing else.

use redis::{Client, ErrorKind, RedisError, RedisResult, ServerErrorKind};
use secrecy::{ExposeSecret, SecretString};

mod cursor;
mod durability;
mod face;
mod figures;
mod groups;
mod letter;
mod letters;
mod link;
mod names;
mod operator;
mod pages;
mod predecessors;
mod scripts;
mod tidy;
mod whereabouts;
mod work;

pub use cursor::{BadCursor, Cursor};
pub use durability::Durability;
pub use figures::{Counts, Last, Pause, Stats};
pub use groups::Group;
pub use letter::{Extra, Letter, Payload};
pub use letters::{Letters, PushError, Pushed, backed};
pub use names::{Queue, State};
pub use operator::{Change, Restored};
pub use pages::{Entry, Filter, Matching, Page};
pub use predecessors::{Adoption, OldList, Tail};
pub use tidy::KEPT;
pub use whereabouts::Start;
pub use work::{Content, InHand, Origin, Reach, Taken, Verdict};

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
