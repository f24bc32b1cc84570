//! The same looks while Redis rewrites its log: it forks, and every page that it touches is copied.

use tokio::time::Instant;

use anyhow::ensure;
use redis::cmd;
use serde::Serialize;

use crate::bed::Bed;
use crate::operations::{Operation, Samples};

/// What was seen of one operation meanwhile.
#[derive(Debug, Serialize)]
pub struct Meanwhile {
    pub operation: Operation,
    pub samples: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// Does one after the other until the log is rewritten.
pub async fn measure(bed: &mut Bed) -> anyhow::Result<Vec<Meanwhile>> {
    let mut samples = Operation::ALL.map(|operation| (operation, Samples::default()));
    let mut rounds = 0;
    cmd("BGREWRITEAOF").exec_async(&mut bed.raw).await?;
    // The fork itself is answered for by whatever is asked first.
    while rounds % 25 != 0 || rounds == 0 || bed.is_rewriting().await? {
        for (operation, samples) in &mut samples {
            let began = Instant::now();
            operation.run(bed, rounds).await?;
            samples.add(began);
        }
        rounds += 1;
    }
    ensure!(rounds > 100, "the log was rewritten before anything could be measured");
    Ok(samples
        .into_iter()
        .map(|(operation, mut samples)| Meanwhile {
            operation,
            samples: samples.len(),
            p50_ms: samples.quantile(500),
            p99_ms: samples.quantile(990),
            max_ms: samples.quantile(1_000),
        })
        .inspect(|it| eprintln!("bench: while the log is rewritten: {it:?}"))
        .collect())
}
