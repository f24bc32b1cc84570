//! `DeadLetters`: what Redis holds of a test, seen past the service.

use redis::Commands;
use serde_json::Value;

use crate::harness::{TestApp, redis_prefix, redis_url};

/// One queue of one test.
pub struct DeadLetters {
    connection: redis::Connection,
    prefix: String,
}

impl DeadLetters {
    /// The webhooks of the database that the service uses, in the Redis of the test run.
    pub fn of(app: &TestApp) -> Self {
        Self::in_queue(app, "webhooks")
    }

    /// Another queue beside them.
    pub fn in_queue(app: &TestApp, queue: &str) -> Self {
        let options = app.db.connect_options();
        let database = options.get_database().unwrap().to_owned();
        let connection = redis::Client::open(redis_url()).unwrap().get_connection().unwrap();
        Self { connection, prefix: format!("{}:dlq:{{{queue}}}:2", redis_prefix(database)) }
    }

    /// Every letter, by its id, as it is written.
    pub fn all(&mut self) -> Vec<(String, Value)> {
        let letters: Vec<(String, String)> = self.connection.hgetall(self.key("letters")).unwrap();
        let read = |(id, json): (String, String)| (id, serde_json::from_str(&json).unwrap());
        letters.into_iter().map(read).collect()
    }

    /// The one letter that there is.
    pub fn only(&mut self) -> Value {
        let mut all = self.all();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0).1
    }

    /// The ids of those that are `due` some time, `leased` or `dead`.
    pub fn ids(&mut self, state: &str) -> Vec<String> {
        let parts: &[&str] = if state == "due" { &["line", "due"] } else { &[state] };
        let ids = |part: &&str| -> Vec<String> {
            self.connection.zrange(format!("{}:{part}", self.prefix), 0, -1).unwrap()
        };
        parts.iter().flat_map(ids).collect()
    }

    /// Writes something under an id, due at once.
    pub fn put(&mut self, id: &str, written: &[u8]) {
        let () = self.connection.hset(self.key("letters"), id, written).unwrap();
        for part in ["ready", "line"] {
            let () = self.connection.zadd(self.key(part), id, 0).unwrap();
        }
    }

    /// As if a process had taken the letter and ended with it in hand, long ago.
    pub fn abandon(&mut self, id: &str) {
        self.lease(id, 0);
    }

    /// As if the letter was in the hands of another process, or was given up.
    pub fn put_aside(&mut self, id: &str, state: &str) {
        if state == "leased" {
            self.lease(id, 9_999_999_999_999);
        } else {
            let made = self.take_away(id);
            let () = self.connection.zadd(self.key(state), id, made).unwrap();
        }
    }

    /// As if the lease of whoever has it in hand had ended, and another process had taken it since.
    pub fn pass_on(&mut self, id: &str) {
        let () = self.connection.hset(self.key("leases"), id, "wanother:lease").unwrap();
    }

    fn lease(&mut self, id: &str, until: u64) {
        let made = self.take_away(id);
        let () = self.connection.zadd(self.key("in_flight"), id, made).unwrap();
        let () = self.connection.zadd(self.key("leased"), id, until).unwrap();
        let () = self.connection.hset(self.key("leases"), id, "wanother:lease").unwrap();
    }

    /// When it was made.
    fn take_away(&mut self, id: &str) -> i64 {
        let mut made = None;
        for part in ["ready", "scheduled"] {
            let score: Option<i64> = self.connection.zscore(self.key(part), id).unwrap();
            made = made.or(score);
        }
        for part in ["ready", "line", "scheduled", "due"] {
            let () = self.connection.zrem(self.key(part), id).unwrap();
        }
        made.unwrap()
    }

    /// Whether anybody can still acknowledge the letter.
    pub fn holds_lease(&mut self, id: &str) -> bool {
        self.connection.hexists(self.key("leases"), id).unwrap()
    }

    /// As if Redis had lost its data.
    pub fn lose_all(&mut self) {
        let keys: Vec<String> = self.connection.keys(self.key("*")).unwrap();
        let () = self.connection.del(keys).unwrap();
    }

    /// As if somebody had deleted the letters behind everybody's back.
    pub fn lose_letters(&mut self) {
        let mut keys: Vec<String> = self.connection.keys(self.key("*")).unwrap();
        keys.retain(|key| !key.ends_with(":vouched"));
        let () = self.connection.del(keys).unwrap();
    }

    /// As if Redis had been started anew with some older copy of its data.
    pub fn start_anew(&mut self) {
        let () = self.connection.set(self.key("vouched"), "another start").unwrap();
    }

    /// As if so many processes had ended with it before.
    pub fn count_deaths(&mut self, id: &str, deaths: u32) {
        let () = self.connection.hset(self.key("deaths"), id, deaths).unwrap();
    }

    /// Forgets every script that Redis has cached.
    pub fn flush_scripts(&mut self) {
        let () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut self.connection).unwrap();
    }

    fn key(&self, part: &str) -> String {
        format!("{}:{part}", self.prefix)
    }
}
