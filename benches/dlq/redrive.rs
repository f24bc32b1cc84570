//! How fast entries go through a redrive: those of one class of errors, by the service's own runner and a
//! handler that has nothing to do. The redrive itself is a row in Postgres, as always.

use tokio::time::Instant;

use anyhow::{Context, ensure};
use dealix::clock::Clock;
use dealix::queue::{Filter, Letter, Payload};
use dealix::replay::{
    Debts, Done, Foreseen, Handler, Order, Plan, Redrive as Row, RedriveStatus, Redrives, Undone,
};
use futures_util::future::{self, BoxFuture, FutureExt};
use serde::Serialize;
use sqlx::PgPool;

use crate::bed::{Bed, QUEUE};
use crate::fill::{CLASSES, class};

/// How many of them it goes on for at least.
const ENTRIES: u64 = 100_000;

/// What a redrive did.
#[derive(Debug, Serialize)]
pub struct Redrive {
    pub entries: u64,
    pub per_s: f64,
}

/// Everything is done at once.
struct Trivial;

impl Handler for Trivial {
    fn knows(&self, payload: &Payload) -> bool {
        matches!(payload, Payload::Job { .. })
    }

    fn settle<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Result<Done, Undone>> {
        future::ready(Ok(Done::Here)).boxed()
    }

    fn rehearse<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Result<Foreseen, Undone>> {
        future::ready(Ok(Foreseen::elsewhere())).boxed()
    }
}

#[expect(clippy::disallowed_methods, reason = "the script says where the stores are")]
pub async fn measure(bed: &mut Bed) -> anyhow::Result<Redrive> {
    let url = std::env::var("DATABASE_URL").context("start it with script/bench --dlq")?;
    let db = PgPool::connect(&url).await?;
    sqlx::migrate!("./migrations").run(&db).await?;
    let clock = Clock::held(bed.now);
    let debts = Debts::default().with(QUEUE, Trivial);
    let lease = chrono::TimeDelta::seconds(30);
    let redrives = Redrives::new(db, bed.letters.clone(), debts, lease, clock);
    let filter = Filter { error_class: Some(class(3)), ..Filter::default() };
    let plan = Plan {
        queue: QUEUE,
        filter,
        rate_per_s: None,
        stop_at_failure_percent: 50,
        one_first: false,
    };
    let order = Order { actor: "bench".to_owned(), request_id: "bench".to_owned(), reason: None };
    let before = bed.letters.count(QUEUE, bed.now).await?.depth();
    let ordered =
        redrives.start(&plan, &order, None).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let began = Instant::now();
    while redrives.step().await? {}
    let per_s = f64::from(u32::try_from(bed.entries / CLASSES)?) / began.elapsed().as_secs_f64();
    let row: Row = redrives
        .find(QUEUE, ordered.answer.id)
        .await
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    ensure!(row.status == RedriveStatus::Completed, "{row:?}");
    let entries = before - bed.letters.count(QUEUE, bed.now).await?.depth();
    ensure!(entries == bed.entries / CLASSES, "{entries} are gone: {row:?}");
    ensure!(entries >= ENTRIES, "too few for a measure: {entries}");
    eprintln!("bench: {entries} entries redriven, {per_s:.0}/s");
    Ok(Redrive { entries, per_s })
}
