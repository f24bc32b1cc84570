//! Show the one screen: asks both stores at once for what is wrong, each for a second and a half at
//! most. A store that does not answer is a fact like the others.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use redis::RedisResult;
use serde::Deserialize;
use sqlx::{PgConnection, PgPool};
use tokio::time::timeout;
use uuid::Uuid;

use crate::clients::breaker::State;
use crate::clients::breakers::Breakers;
use crate::clock::Clock;
use crate::db;
use crate::db::troubles::UnsettledEvent;
use crate::domain::health::ErrorClass;
use crate::domain::money::Halalas;
use crate::domain::status::{
    Books, Claim, DeadGroup, Facts, Letters as Told, OpenBreaker, QueueFacts,
};
use crate::flows::health::check_health::{class_of_command, class_of_query};
use crate::migrations;
use crate::queue::{Durability, Filter, Group, Letters, Queue, Redis, State as LetterState};

/// How long each store is asked.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Rows that are read of each kind.
const ROWS: i64 = 500;

/// Groups of letters that are looked at in each queue with dead ones.
const GROUPS: usize = 50;

/// What is asked.
#[derive(Clone)]
pub struct ShowStatus {
    pub db: PgPool,
    pub redis: Redis,
    pub letters: Letters,
    pub breakers: Arc<Breakers>,
    pub clock: Clock,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// The API, of its own state.
    ByTheApi,
    /// A command, because the API does not answer.
    InItsPlace,
}

impl ShowStatus {
    /// Everything that can be found out now.
    pub async fn facts(&self, asked: Asked) -> Facts {
        let (postgres, redis) =
            tokio::join!(timeout(PATIENCE, self.books()), timeout(PATIENCE, self.letters()),);
        Facts {
            now: self.clock.now(),
            is_api_down: asked == Asked::InItsPlace,
            postgres: postgres.unwrap_or(Err(ErrorClass::Timeout)),
            redis: redis.unwrap_or(Err(ErrorClass::Timeout)),
            breakers: self.open_breakers(),
        }
    }

    async fn books(&self) -> Result<Books, ErrorClass> {
        self.read_books().await.map_err(|error| class_of_query(&error))
    }

    /// One connection at a time: whoever looks while all is busy must not take what is left.
    async fn read_books(&self) -> sqlx::Result<Books> {
        let missing_migrations = migrations::missing(&self.db).await?;
        if !missing_migrations.is_empty() {
            return Ok(Books { missing_migrations, ..Books::default() });
        }
        let now = self.clock.now();
        let mut connection = self.db.acquire().await?;
        let connection = &mut *connection;
        let events = db::webhook_events::backlog(&mut *connection).await?;
        let outbox = db::outbox::backlog(&mut *connection).await?;
        let number = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok(Books {
            missing_migrations,
            open_questions: number(db::reviews::count_open(&mut *connection).await?),
            questions: db::troubles::list_questions(&mut *connection, ROWS).await?,
            events: db::troubles::pile(events.waiting + events.failed, events.oldest_at),
            claims: claims(&mut *connection).await?,
            in_doubt: db::troubles::in_doubt(&mut *connection).await?,
            in_doubt_ids: db::troubles::list_in_doubt(&mut *connection, ROWS).await?,
            overdue_looks: db::troubles::overdue_looks(&mut *connection, now).await?,
            outbox: db::troubles::pile(outbox.waiting, outbox.oldest_at),
            outbox_refused: number(db::troubles::count_refused_events(&mut *connection).await?),
            refused_webhooks: number(
                db::troubles::count_quarantined(&mut *connection, now - TimeDelta::hours(1))
                    .await?,
            ),
        })
    }

    async fn letters(&self) -> Result<Told, ErrorClass> {
        let told = async {
            let mut queues = Vec::new();
            for queue in Queue::ALL {
                let now = self.clock.now();
                let counts = self.letters.count(queue, now).await?;
                let (depth, dead, oldest_at) = (counts.depth(), counts.dead, counts.oldest_at);
                let dead_groups =
                    if dead == 0 { Vec::new() } else { self.dead_groups(queue, now).await? };
                queues.push(QueueFacts { name: queue.name(), depth, dead, oldest_at, dead_groups });
            }
            let flaw = match self.redis.durability().await? {
                Durability::Always | Durability::Confirmable => None,
                Durability::Not(flaws) => flaws.first().map(|flaw| flaw.name()),
            };
            Ok(Told { flaw, queues })
        };
        told.await.map_err(|error| class_of_command(&error))
    }

    async fn dead_groups(&self, queue: Queue, now: DateTime<Utc>) -> RedisResult<Vec<DeadGroup>> {
        let mut dead = Vec::new();
        for group in self.letters.groups(queue, None, GROUPS, now).await?.items {
            let Group { fingerprint, error_class, first_dead_at: Some(since), .. } = group else {
                continue;
            };
            let (states, of) = (vec![LetterState::Dead], Some(fingerprint.clone()));
            let filter = Filter { states, group: of, ..Filter::default() };
            let page = self.letters.page_ids(queue, &filter, None, 1, now).await?;
            if !page.items.is_empty() || page.next.is_some() {
                dead.push(DeadGroup { fingerprint, error_class, since });
            }
        }
        Ok(dead)
    }

    fn open_breakers(&self) -> Vec<OpenBreaker> {
        let snapshots = self.breakers.list().map(crate::clients::breaker::Breaker::snapshot);
        let open = snapshots.filter(|breaker| breaker.state != State::Closed);
        open.map(|breaker| OpenBreaker { name: breaker.name, since: breaker.opened_at }).collect()
    }
}

/// What the events say, and whose invoices they name; one that says nothing claims nothing.
async fn claims(connection: &mut PgConnection) -> sqlx::Result<Vec<Claim>> {
    let events = db::troubles::list_unsettled(&mut *connection, ROWS).await?;
    let read = |event: UnsettledEvent| {
        (event.id, serde_json::from_slice::<Said>(&event.body).unwrap_or_default().data)
    };
    let said: Vec<_> = events.into_iter().map(read).collect();
    let invoices: Vec<_> = said.iter().filter_map(|(_, said)| said.invoice_id.clone()).collect();
    let ours = db::troubles::map_invoices(connection, &invoices).await?;
    let claim = |(event_id, said): (Uuid, SaidOfPayment)| Claim {
        event_id,
        checkout_id: said.invoice_id.and_then(|invoice| ours.get(&invoice).copied()),
        amount: Halalas(said.amount.unwrap_or_default()),
    };
    Ok(said.into_iter().map(claim).collect())
}

#[derive(Default, Deserialize)]
struct Said {
    data: SaidOfPayment,
}

#[derive(Default, Deserialize)]
struct SaidOfPayment {
    amount: Option<i64>,
    invoice_id: Option<String>,
}
