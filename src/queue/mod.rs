//! What we owe: Redis, which holds dead letters and nothing else.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisError, RedisResult, ServerErrorKind};
use secrecy::{ExposeSecret, SecretString};

mod durability;

pub use durability::Durability;

/// How long one command may take, and one attempt to connect.
const PATIENCE: Duration = Duration::from_millis(500);

/// The way to Redis: one connection that is made when it is first needed and mends itself.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    manager: Arc<Mutex<ConnectionManager>>,
}

impl Redis {
    /// Reaches out to nothing yet, but needs a tokio runtime.
    pub fn new(url: &SecretString) -> RedisResult<Self> {
        let client = Client::open(url.expose_secret())?;
        let manager = Arc::new(Mutex::new(lazy_manager(&client)?));
        Ok(Self { client, manager })
    }

    /// Asks whether it is there. A connection that does not answer in time is replaced: the
    /// manager itself gives one up only when it breaks, and one that was black-holed never does.
    pub async fn ping(&self) -> RedisResult<()> {
        let answer = redis::cmd("PING").exec_async(&mut self.connection()).await;
        if answer.as_ref().is_err_and(RedisError::is_timeout) {
            self.renew()?;
        }
        answer
    }

    /// Whether what it acknowledges survives its crash.
    pub async fn durability(&self) -> RedisResult<Durability> {
        durability::ask(&mut self.connection()).await
    }

    fn connection(&self) -> ConnectionManager {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn renew(&self) -> RedisResult<()> {
        let fresh = lazy_manager(&self.client)?;
        *self.manager.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

/// Whether Redis refused who we are or what we may do.
pub fn is_denied(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm)
    ) || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

fn lazy_manager(client: &Client) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(2)
        .set_max_delay(PATIENCE)
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}
