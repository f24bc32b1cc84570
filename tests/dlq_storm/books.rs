//! What must be true of the letters after every kill, and in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use dealix::clock::Clock;
use dealix::queue::{Filter, Queue, State};

use crate::world::{SALES, Shared, lock};

/// Nothing here takes this long unless something is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// How soon something is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

const LETTERS: &str = "dealix:dlq:{webhooks}:2:";

/// All at one moment: the ids of the letters, and how many are in each state.
const LOOK: &str = "
    local states = {}
    for at, state in ipairs({ 'ready', 'scheduled', 'in_flight', 'dead' }) do
        states[at] = redis.call('zcard', KEYS[1] .. state)
    end
    return { redis.call('hkeys', KEYS[1] .. 'letters'), states }";

impl Shared {
    /// Every letter that was ever owed is done or still there, and in exactly one state. A letter is
    /// written to where it belongs before it goes, so Redis is asked first.
    pub async fn nothing_is_lost(&self) {
        let owed = lock(&self.owed).clone();
        let there = self.ids_in_redis().await;
        let missing: Vec<_> = owed.difference(&there).cloned().collect();
        // One that nobody handed over yet is still owed by its row.
        let found = "select dedupe_key from webhook_events where dedupe_key = any($1)
            and (status in ('received', 'done') or handed_over_at is null)";
        let found: Vec<String> =
            sqlx::query_scalar(found).bind(&missing).fetch_all(&self.db).await.unwrap();
        let found: BTreeSet<_> = found.into_iter().collect();
        let missing: BTreeSet<_> = missing.into_iter().collect();
        // It may have been handed over in between.
        let open: BTreeSet<_> = missing.difference(&found).cloned().collect();
        if !open.is_empty() {
            let there = self.ids_in_redis().await;
            let done = "select dedupe_key from webhook_events where dedupe_key = any($1) and status = 'done'";
            let asked: Vec<_> = open.iter().cloned().collect();
            let done: Vec<String> =
                sqlx::query_scalar(done).bind(&asked).fetch_all(&self.db).await.unwrap();
            let lost: Vec<_> =
                open.iter().filter(|id| !there.contains(*id) && !done.contains(id)).collect();
            assert!(lost.is_empty(), "lost: {lost:?}");
        }
    }

    /// The ids of all letters; and their number is that of all states together.
    async fn ids_in_redis(&self) -> BTreeSet<String> {
        let client = redis::Client::open(self.redis_url.as_str()).unwrap();
        // Past the weather; but while Redis restarts nobody answers.
        let answer = until("Redis answers", async || {
            let mut redis = client.get_multiplexed_async_connection().await.ok()?;
            // Not a transaction, which is refused while there is no memory.
            let mut ask = redis::cmd("EVAL_RO");
            ask.arg(LOOK).arg(1).arg(LETTERS).query_async(&mut redis).await.ok()
        });
        let (ids, states): (Vec<String>, Vec<usize>) = answer.await;
        assert_eq!(states.iter().sum::<usize>(), ids.len(), "{states:?}");
        ids.iter().map(|id| id.strip_prefix("moyasar:").unwrap().to_owned()).collect()
    }

    /// Drains, and tries once more what is dead, until nothing is left.
    pub async fn drain_to_the_end(&self) {
        let instance = &self.instances[0];
        instance.until_up().await;
        until("the queue is empty", async || {
            self.nothing_is_lost().await;
            let drained = self.drain(instance, 100).await.unwrap();
            if drained["remaining"] == 0 && self.all_are_handed_over().await {
                return Some(());
            }
            let filter = Filter { states: vec![State::Dead], ..Filter::default() };
            let now = Clock::default().now();
            let dead = self.letters.page_ids(Queue::Webhooks, &filter, None, 100, now).await;
            for id in dead.unwrap().items {
                println!("{id} was given up, and is tried again");
                self.post(instance, &format!("webhooks/entries/{id}/retry")).await.unwrap();
            }
            None
        })
        .await;
    }

    /// How many letters are done.
    pub async fn done(&self) -> usize {
        self.count("webhook_events where status <> 'failed'").await
    }

    /// How many redrives there were, and how many letters they say that they did.
    pub async fn redrives(&self) -> [i64; 2] {
        let sums = "select count(*), coalesce(sum(succeeded), 0)::bigint from redrives";
        let sums: (i64, i64) = sqlx::query_as(sums).fetch_one(&self.db).await.unwrap();
        sums.into()
    }

    async fn all_are_handed_over(&self) -> bool {
        self.count("webhook_events where status = 'failed'").await == 0
    }

    /// How many rows a condition on a table finds.
    async fn count(&self, from: &'static str) -> usize {
        let statement = sqlx::AssertSqlSafe(format!("select count(*) from {from}"));
        let count: i64 = sqlx::query_scalar(statement).fetch_one(&self.db).await.unwrap();
        usize::try_from(count).unwrap()
    }

    /// Each letter was recorded once, each sale has one effect, and analytics knows each thing once.
    pub async fn hold_the_books(&self) {
        until("everything is settled and sent", async || {
            let open = self.count("webhook_events where status <> 'done'").await
                + self.count("outbox where status <> 'sent'").await;
            (open == 0).then_some(())
        })
        .await;
        let owed = lock(&self.owed).clone();
        let recorded: Vec<String> = sqlx::query_scalar("select dedupe_key from webhook_events")
            .fetch_all(&self.db)
            .await
            .unwrap();
        let once: BTreeSet<_> = recorded.iter().cloned().collect();
        assert_eq!(once.len(), recorded.len());
        assert!(owed.is_subset(&once), "{:?}", owed.difference(&once));
        let surplus: BTreeSet<_> = once.difference(&owed).cloned().collect();
        assert!(surplus.is_subset(&lock(&self.perhaps)), "{surplus:?}");
        println!("{} letters, {} of which Redis had said nothing", once.len(), surplus.len());

        for table in [
            "payments where standing = 'granted'",
            "payment_effects",
            "subscriptions where current_period_end - current_period_start < '32 days'",
            "checkouts where status = 'paid'",
            "outbox where name = 'payment_succeeded'",
        ] {
            assert_eq!(self.count(table).await, SALES, "{table}");
        }
        assert_eq!(self.count("reviews").await, 0);
        assert_eq!(self.count("outbox where name = 'dlq_pushed'").await, once.len());
        let ledger = self.sandbox.ledger();
        assert_eq!(ledger.posthog_events_named("payment_succeeded").count(), SALES);
        assert_eq!(ledger.posthog_events_named("dlq_pushed").count(), once.len());
    }
}

/// Asks again and again until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answered = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    answered.unwrap_or_else(|_| panic!("waited in vain until {what}"))
}
