//! `World`: queues of one test alone, and letters for them.

use chrono::{DateTime, TimeDelta, Utc};
use dealix::queue::{
    Content, Counts, Entry, Extra, Filter, InHand, Letter, Letters, Page, Payload, Pushed, Queue,
    Redis, State, Verdict,
};
use redis::Commands;
use uuid::Uuid;

/// The queue that tests use when it does not matter.
pub const QUEUE: Queue = Queue::Outbound;

/// When a test begins.
pub fn noon() -> DateTime<Utc> {
    "2026-01-02T12:00:00Z".parse().unwrap()
}

/// So many seconds after [`noon`].
pub fn at(seconds: i64) -> DateTime<Utc> {
    noon() + TimeDelta::seconds(seconds)
}

/// How long leases are here.
pub const LEASE: TimeDelta = TimeDelta::seconds(30);

/// Queues that nobody else has.
pub struct World {
    /// As one process sees them.
    pub letters: Letters,
    /// As another process sees them.
    pub other: Letters,
    /// The way past both.
    pub raw: redis::Connection,
    /// What their keys begin with.
    pub prefix: String,
}

impl World {
    /// In the Redis of the test run.
    #[expect(clippy::disallowed_methods, reason = "the test run says where its stores are")]
    pub fn new() -> Self {
        Self::at(&std::env::var("REDIS_URL").unwrap())
    }

    /// In another Redis.
    pub fn at(url: &str) -> Self {
        let prefix = format!("test-{}", Uuid::new_v4().simple());
        let seen = || {
            let redis = Redis::new(&url.into()).unwrap();
            Letters::new(redis, &prefix, Uuid::new_v4(), "r1")
        };
        let raw = redis::Client::open(url).unwrap().get_connection().unwrap();
        Self { letters: seen(), other: seen(), raw, prefix }
    }

    /// Ends a lease; `false` for one that had ended.
    pub async fn settle(&self, held: &InHand, verdict: Verdict<'_>, now: DateTime<Utc>) -> bool {
        self.letters.settle(QUEUE, now, &[(held, verdict)]).await.unwrap() == [true]
    }

    /// The name of a key of the queue.
    pub fn key(&self, part: &str) -> String {
        format!("{}:dlq:{{{}}}:2:{part}", self.prefix, QUEUE.name())
    }

    /// Adds a letter, and it is new.
    pub async fn push(&self, letter: &Letter) {
        let pushed = self.letters.push(QUEUE, letter, letter.created_at).await.unwrap();
        assert_eq!(pushed, Pushed::New);
    }

    /// Adds ready letters with these ids, made a second apart.
    pub async fn push_all(&self, ids: &[&str]) {
        for (second, id) in (0..).zip(ids) {
            self.push(&letter(id, second)).await;
        }
    }

    /// What a worker gets at that time.
    pub async fn take(&self, now: DateTime<Utc>, limit: usize) -> Vec<InHand> {
        self.letters.take(QUEUE, now, LEASE, limit).await.unwrap()
    }

    /// The one letter that a worker gets at that time.
    pub async fn take_one(&self, now: DateTime<Utc>) -> InHand {
        let mut taken = self.take(now, 1).await;
        assert_eq!(taken.len(), 1);
        taken.remove(0)
    }

    /// How many letters are ready, scheduled, in flight and dead.
    pub async fn counts(&self, now: DateTime<Utc>) -> [u64; 4] {
        let Counts { ready, scheduled, in_flight, dead, .. } =
            self.letters.count(QUEUE, now).await.unwrap();
        [ready, scheduled, in_flight, dead]
    }

    /// One letter.
    pub async fn get(&self, id: &str, now: DateTime<Utc>) -> Entry {
        self.letters.get(QUEUE, id, now).await.unwrap().unwrap()
    }

    /// Where a letter is, if it is anywhere.
    pub async fn state(&self, id: &str, now: DateTime<Utc>) -> Option<State> {
        self.letters.get(QUEUE, id, now).await.unwrap().map(|entry| entry.state)
    }

    /// The ids of all that match.
    pub async fn ids(&self, filter: &Filter, now: DateTime<Utc>) -> Vec<String> {
        let found = self.letters.page(QUEUE, filter, None, 100, now).await.unwrap();
        let Page { items, next } = found;
        assert_eq!(next, None);
        items.into_iter().map(|entry| entry.id).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let keys: Vec<String> = self.raw.keys(format!("{}:*", self.prefix)).unwrap();
        if !keys.is_empty() {
            let () = self.raw.del(keys).unwrap();
        }
    }
}

/// A letter that is due when it was made, so many seconds after [`noon`].
pub fn letter(id: &str, second: i64) -> Letter {
    Letter {
        id: id.into(),
        source: "email".into(),
        error: "it was refused".into(),
        error_class: "refused".into(),
        attempt: 1,
        max_retries: 5,
        created_at: at(second),
        last_attempt_at: Some(at(second)),
        next_attempt_at: at(second),
        request_id: format!("request-{id}"),
        trace_id: None,
        payload: Payload::Job { body: format!(r#"{{"to": "{id}", "n": 1.50}}"#) },
        body_sha256: None,
        is_changed: false,
        original: None,
        extra: Extra::default(),
    }
}

/// What is written of a letter that can be read.
pub fn read(content: &Content) -> &Letter {
    let Content::Letter(letter) = content else { panic!("{content:?}") };
    letter
}

/// The ids of letters in hand.
pub fn ids(in_hand: &[InHand]) -> Vec<String> {
    in_hand.iter().map(|held| held.id().into_owned()).collect()
}
