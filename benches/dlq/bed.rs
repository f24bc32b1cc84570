//! The queue that is measured, and a way to its Redis past it.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use dealix::queue::{Cursor, Filter, Letters, Queue, Redis};
use redis::aio::MultiplexedConnection;
use redis::{InfoDict, cmd};
use uuid::Uuid;

/// The queue that is filled.
pub const QUEUE: Queue = Queue::Outbound;

/// What the names of its keys begin with.
const PREFIX: &str = "bench";

/// Everything that is measured with.
pub struct Bed {
    /// As the service sees the queue: one connection for pushes, one for the rest.
    pub letters: Letters,
    pub raw: MultiplexedConnection,
    pub url: String,
    /// The socket of Redis, for its own tools.
    pub socket: String,
    /// The time, which is held: nothing becomes due while something is measured.
    pub now: DateTime<Utc>,
    /// How many entries were pushed.
    pub entries: u64,
    /// How long a letter is, as written.
    pub letter_bytes: usize,
    /// Places all over the list of one class of errors.
    pub places: Vec<Cursor>,
    empty_bytes: u64,
}

impl Bed {
    #[expect(clippy::disallowed_methods, reason = "the script says where the stores are")]
    pub async fn start() -> anyhow::Result<Self> {
        let url = std::env::var("REDIS_URL").context("start it with script/bench --dlq")?;
        let socket = url.strip_prefix("redis+unix://").context("not a socket")?.to_owned();
        let raw = redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?;
        let redis = Redis::new(&url.as_str().into())?;
        let letters = Letters::new(redis, PREFIX, Uuid::new_v4(), "bench");
        let now = "2026-01-02T12:00:00Z".parse()?;
        let (entries, places, letter_bytes, empty_bytes) = (0, Vec::new(), 0, 0);
        let mut bed =
            Self { letters, raw, url, socket, now, entries, letter_bytes, places, empty_bytes };
        bed.empty_bytes = bed.used_bytes_since_start().await?;
        Ok(bed)
    }

    /// Everything that Redis uses on top of what it used when it was empty.
    pub async fn used_bytes_since_start(&mut self) -> anyhow::Result<u64> {
        let used: u64 = self.info("used_memory").await?.context("no used_memory")?;
        Ok(used.saturating_sub(self.empty_bytes))
    }

    pub async fn info<T: redis::FromRedisValue>(
        &mut self,
        field: &str,
    ) -> anyhow::Result<Option<T>> {
        let info: InfoDict = cmd("INFO").query_async(&mut self.raw).await?;
        Ok(info.get(field))
    }

    /// Waits until Redis rewrites nothing any more, keeps it from beginning by itself, and looks for
    /// places in the list.
    pub async fn settle_down(&mut self) -> anyhow::Result<()> {
        self.rewrites_by_itself(false).await?;
        self.until_rewritten().await?;
        let filter = Filter { error_class: Some(crate::fill::class(3)), ..Filter::default() };
        let (mut places, mut last) = (Vec::new(), None);
        loop {
            let page = self.letters.page_ids(QUEUE, &filter, last.as_ref(), 250, self.now).await?;
            let Some(next) = page.next else { break };
            places.push(next.clone());
            last = Some(next);
        }
        self.places = places;
        Ok(())
    }

    /// Whether Redis may rewrite its log when it finds it too long.
    pub async fn rewrites_by_itself(&mut self, may_it: bool) -> anyhow::Result<()> {
        let percentage = if may_it { 100 } else { 0 };
        let mut set = cmd("CONFIG");
        set.arg("SET").arg("auto-aof-rewrite-percentage").arg(percentage);
        Ok(set.exec_async(&mut self.raw).await?)
    }

    pub async fn is_rewriting(&mut self) -> anyhow::Result<bool> {
        Ok(self.info::<u64>("aof_rewrite_in_progress").await? == Some(1))
    }

    pub async fn until_rewritten(&mut self) -> anyhow::Result<()> {
        while self.is_rewriting().await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}
