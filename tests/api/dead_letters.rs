//! `DeadLetters`: what Redis holds of a test, seen past the service.

use redis::Commands;
use serde_json::Value;

use crate::harness::{TestApp, redis_prefix, redis_url};

/// The queue of webhooks of one test.
pub struct DeadLetters {
    connection: redis::Connection,
    prefix: String,
}

impl DeadLetters {
    /// Those of the database that the service uses, in the Redis of the test run.
    pub fn of(app: &TestApp) -> Self {
        let options = app.db.connect_options();
        let database = options.get_database().unwrap().to_owned();
        let connection = redis::Client::open(redis_url()).unwrap().get_connection().unwrap();
        Self { connection, prefix: format!("{}:dlq:{{webhooks}}", redis_prefix(database)) }
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

    /// The ids in one of the states `due`, `leased` and `dead`.
    pub fn ids(&mut self, state: &str) -> Vec<String> {
        self.connection.zrange(self.key(state), 0, -1).unwrap()
    }

    /// Writes something under an id, due at once.
    pub fn put(&mut self, id: &str, written: &[u8]) {
        let () = self.connection.hset(self.key("letters"), id, written).unwrap();
        let () = self.connection.zadd(self.key("due"), id, 0).unwrap();
    }

    /// As if a process had taken the letter and ended with it in hand, long ago.
    pub fn abandon(&mut self, id: &str) {
        let () = self.connection.zrem(self.key("due"), id).unwrap();
        let () = self.connection.zadd(self.key("leased"), id, 0).unwrap();
        let () = self.connection.hset(self.key("leases"), id, "another:lease").unwrap();
    }

    /// As if the letter was in the hands of another process, or was given up.
    pub fn put_aside(&mut self, id: &str, state: &str) {
        const LATE: u64 = 9_999_999_999_999;
        let () = self.connection.zrem(self.key("due"), id).unwrap();
        let () = self.connection.zadd(self.key(state), id, LATE).unwrap();
        if state == "leased" {
            let () = self.connection.hset(self.key("leases"), id, "another:lease").unwrap();
        } else {
            let () = self.connection.zrem(self.key("ages"), id).unwrap();
        }
    }

    /// Whether anybody can still acknowledge the letter.
    pub fn holds_lease(&mut self, id: &str) -> bool {
        self.connection.hexists(self.key("leases"), id).unwrap()
    }

    /// As if Redis had lost its data.
    pub fn lose_all(&mut self) {
        for part in ["letters", "due", "leased", "leases", "deaths", "dead", "ages"] {
            let () = self.connection.del(self.key(part)).unwrap();
        }
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
