//! `Redriver`: redrives of one test, carried out by a handler of the test's own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use chrono::TimeDelta;
use dealix::queue::{Letter, Payload, Queue};
use dealix::replay::{Debts, Done, Foreseen, Handler, Redrives, Undone};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::desk::{letters, list, look, message, order, order_with, push};
use crate::harness::{Answer, TestApp};

/// How long a letter belongs to whoever took it.
pub const LEASE: Duration = Duration::from_secs(30);

type Judge = dyn Fn(&Letter) -> BoxFuture<'static, Result<Done, Undone>> + Send + Sync;

/// Does what the test says, and remembers whose turn it was.
#[derive(Clone)]
struct Recorder {
    tried: Arc<Mutex<Vec<String>>>,
    judge: Arc<Mutex<Arc<Judge>>>,
}

impl Handler for Recorder {
    fn knows(&self, _: &Payload) -> bool {
        true
    }

    fn settle<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<Done, Undone>> {
        self.tried.lock().unwrap().push(letter.id.clone());
        let judge = Arc::clone(&self.judge.lock().unwrap());
        judge(letter)
    }

    fn rehearse<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Result<Foreseen, Undone>> {
        async { Ok(Foreseen::elsewhere()) }.boxed()
    }
}

/// A service, and beside it an instance that knows what `enrichment` owes.
pub struct Redriver {
    pub app: TestApp,
    pub redrives: Redrives,
    recorder: Recorder,
}

impl Redriver {
    pub fn start(db: PgPool) -> Self {
        let app = TestApp::start(db);
        let judge: Arc<Judge> = Arc::new(|_| async { Ok(Done::Here) }.boxed());
        let recorder = Recorder { tried: Arc::default(), judge: Arc::new(Mutex::new(judge)) };
        let redrives = instance(&app, &recorder);
        Self { app, redrives, recorder }
    }

    /// Another instance with the same handler.
    pub fn another(&self) -> Redrives {
        instance(&self.app, &self.recorder)
    }

    /// From now on this is what comes of letters.
    pub fn judge(&self, judge: impl Fn(&Letter) -> Result<Done, Undone> + Send + Sync + 'static) {
        self.judge_slowly(move |letter| {
            let judged = judge(letter);
            async { judged }.boxed()
        });
    }

    /// From now on this is what comes of letters, sooner or later.
    pub fn judge_slowly(
        &self,
        judge: impl Fn(&Letter) -> BoxFuture<'static, Result<Done, Undone>> + Send + Sync + 'static,
    ) {
        *self.recorder.judge.lock().unwrap() = Arc::new(judge);
    }

    /// Whose turn it was since it was last asked, in that order.
    pub fn tried(&self) -> Vec<String> {
        std::mem::take(&mut *self.recorder.tried.lock().unwrap())
    }

    /// The same, by their names: those of a page are begun nearly at once.
    pub fn tried_sorted(&self) -> Vec<String> {
        let mut tried = self.tried();
        tried.sort();
        tried
    }

    /// Adds letters with these ids, a second apart.
    pub async fn owe<S: AsRef<str>>(&self, ids: impl IntoIterator<Item = S>) {
        for id in ids {
            push(&self.app, Queue::Enrichment, &message(&self.app, id.as_ref())).await;
            self.app.clock.advance(Duration::from_secs(1));
        }
    }

    /// Adds a dead letter.
    pub async fn owe_dead(&self, id: &str) {
        let (letter, now) = (message(&self.app, id), self.app.clock.now());
        letters(&self.app).push_dead(Queue::Enrichment, &letter, now).await.unwrap();
        self.app.clock.advance(Duration::from_secs(1));
    }

    /// Orders a redrive, and tells its id.
    pub async fn order(&self, body: &Value) -> String {
        let answer = order_with(&self.app, Method::POST, "/enrichment/redrive", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Says `pause` or `resume`.
    pub async fn say(&self, id: &str, word: &str) -> Answer {
        order(&self.app, Method::POST, &format!("/enrichment/redrive/{id}/{word}")).await
    }

    pub async fn cancel(&self, id: &str) -> Answer {
        order(&self.app, Method::DELETE, &format!("/enrichment/redrive/{id}")).await
    }

    pub async fn show(&self, id: &str) -> Value {
        look(&self.app, &format!("/enrichment/redrive/{id}")).await.json()
    }

    /// Status, why it stopped, succeeded, failed, held, remaining.
    pub async fn counts(&self, id: &str) -> (String, Value, [u64; 4]) {
        let shown = self.show(id).await;
        let counts = ["succeeded", "failed", "held", "remaining"];
        let because = shown.get("stopped_because").cloned().unwrap_or_default();
        let status = shown["status"].as_str().unwrap().to_owned();
        (status, because, counts.map(|name| shown[name].as_u64().unwrap()))
    }

    /// Takes what is due a page further.
    pub async fn step(&self) -> bool {
        self.redrives.step().await.unwrap()
    }

    /// Goes on until nothing is due.
    pub async fn run(&self) {
        while self.step().await {}
    }

    /// The ids in one state.
    pub async fn ids(&self, state: &str) -> Vec<String> {
        let listed = list(&self.app, &format!("/enrichment?limit=100&state={state}")).await;
        listed.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn instance(app: &TestApp, recorder: &Recorder) -> Redrives {
    let debts = Debts::default().with(Queue::Enrichment, recorder.clone());
    let lease = TimeDelta::from_std(LEASE).unwrap();
    Redrives::new(app.db.clone(), letters(app), debts, lease, app.clock.clone())
}

/// Names with numbers.
pub fn numbered(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}:{number:03}")).collect()
}

/// What is said of one that is over as far as it goes.
pub fn completed(succeeded: u64, failed: u64, held: u64) -> (String, Value, [u64; 4]) {
    ("completed".to_owned(), json!(null), [succeeded, failed, held, 0])
}
