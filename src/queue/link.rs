//! One connection to Redis: made when it is first needed, given up when it no longer answers.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind,
};

use super::scripts::{in_full, is_unknown};

/// How long anything may take that Redis is asked, connecting included.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// What is asked on one link waits for nothing that is asked on another.
#[derive(Clone)]
pub(super) struct Link {
    client: Client,
    current: Arc<Mutex<Current>>,
}

struct Current {
    manager: ConnectionManager,
    number: u64,
}

/// What is asked.
#[derive(Clone, Copy)]
enum Question<'a> {
    One(&'a Cmd),
    Several(&'a Pipeline),
}

impl Question<'_> {
    async fn put<T: FromRedisValue>(self, mut to: ConnectionManager) -> RedisResult<T> {
        match self {
            Self::One(command) => command.query_async(&mut to).await,
            Self::Several(commands) => commands.query_async(&mut to).await,
        }
    }
}

impl Link {
    /// Reaches out to nothing yet, but needs a tokio runtime.
    pub fn new(client: &Client) -> RedisResult<Self> {
        let manager = lazy_manager(client)?;
        let current = Arc::new(Mutex::new(Current { manager, number: 0 }));
        Ok(Self { client: client.clone(), current })
    }

    /// Asks one thing. A script of ours that Redis does not know is sent in full.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let answer = self.in_time(Question::One(command)).await;
        match answer {
            Err(error) if is_unknown(&error) => match in_full(command) {
                Some(full) => self.in_time(Question::One(&full)).await,
                None => Err(error),
            },
            answer => answer,
        }
    }

    /// Asks several things in one round trip.
    pub async fn ask_all<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        self.in_time(Question::Several(commands)).await
    }

    /// Tells of an answer among several that it was an error: a server that is a copy now is looked for
    /// anew.
    pub fn judge(&self, error: &RedisError) -> RedisResult<()> {
        if is_copy(error) { self.renew(self.current().1) } else { Ok(()) }
    }

    /// A connection that broke is made anew, and one that does not answer in time is replaced for the
    /// next who asks: the manager itself would hand its old error to the first of them, and keep one
    /// that was black-holed for good. So everything that is asked may arrive twice.
    async fn in_time<T: FromRedisValue>(&self, question: Question<'_>) -> RedisResult<T> {
        let (connection, number) = self.current();
        let twice = async {
            let answer = question.put(connection).await;
            if !answer.as_ref().is_err_and(|error| error.is_io_error() && !error.is_timeout()) {
                return answer;
            }
            self.renew(number)?;
            question.put(self.current().0).await
        };
        let answer = tokio::time::timeout(PATIENCE, twice).await;
        let answer =
            answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        if answer.as_ref().is_err_and(|error| error.is_timeout() || is_copy(error)) {
            self.renew(number)?;
        }
        answer
    }

    fn current(&self) -> (ConnectionManager, u64) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (current.manager.clone(), current.number)
    }

    /// Many may find the same connection dead; the first one replaces it.
    fn renew(&self, number: u64) -> RedisResult<()> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.number == number {
            *current = Current { manager: lazy_manager(&self.client)?, number: number + 1 };
        }
        Ok(())
    }
}

/// Whether it was the master and is a copy now: behind its name there may be another server by now.
fn is_copy(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

fn lazy_manager(client: &Client) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}
