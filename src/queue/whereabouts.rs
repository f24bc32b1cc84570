//! Whether Redis is still the one that it was: after a restart, a failover or a flush it may have lost
//! letters that it had acknowledged.

use redis::{InfoDict, RedisResult};

use super::letters::Letters;
use super::names::Queue;

/// The key that says under which start of Redis the letters of a queue were last made sure of.
const VOUCHED: &str = "vouched";

/// One start of one Redis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start(String);

impl Letters {
    /// The start of Redis that nobody has vouched for yet; nothing while it is the one of before.
    pub async fn unvouched(&self, queue: Queue) -> RedisResult<Option<Start>> {
        let mut questions = redis::pipe();
        questions.get(self.own_key(queue, VOUCHED)).cmd("INFO").arg("server");
        let (vouched, info): (Option<String>, InfoDict) =
            self.redis.rest.ask_all(&questions).await?;
        let start = info.get::<String>("run_id").unwrap_or_else(|| "unknown".to_owned());
        Ok((vouched.as_ref() != Some(&start)).then_some(Start(start)))
    }

    /// Notes that whatever should be in a queue is there, or is known to be missing. It is forgotten
    /// together with the letters.
    pub async fn vouch(&self, queue: Queue, start: &Start) -> RedisResult<()> {
        let mut note = redis::cmd("SET");
        self.redis.rest.ask(note.arg(self.own_key(queue, VOUCHED)).arg(&start.0)).await
    }
}
