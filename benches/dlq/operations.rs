//! What is asked of a queue, how long the service waits for it, and how long Redis's own benchmark waits
//! for the same script.

use std::fmt;
use tokio::time::Instant;

use anyhow::Context;
use chrono::TimeDelta;
use dealix::queue::Filter;
use serde::Serialize;

use crate::bed::{Bed, QUEUE};
use crate::clients::{redis_benchmark, words_of};
use crate::fill;

/// How often each is done, at places all over the queue.
const SAMPLES: u64 = 2_000;

/// How often it is compared with Redis's own benchmark; the best round counts on both sides, because
/// what else runs on the machine only adds.
const ROUNDS: u32 = 25;
const PER_ROUND: u32 = 400;

/// One thing that is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Peek,
    FilterByClass,
    EntryById,
    Stats,
    PushKnown,
    TakeOne,
}

impl Operation {
    pub const ALL: [Self; 6] = [
        Self::Peek,
        Self::FilterByClass,
        Self::EntryById,
        Self::Stats,
        Self::PushKnown,
        Self::TakeOne,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Peek => "peek, 10 entries",
            Self::FilterByClass => "filter by error class, a page of 20 anywhere",
            Self::EntryById => "entry by id",
            Self::Stats => "stats",
            Self::PushKnown => "push one that is there, durably",
            Self::TakeOne => "take one, another one's lease having ended",
        }
    }

    /// Whether an operator waits for it: how long is promised.
    pub const fn is_look(self) -> bool {
        match self {
            Self::Peek | Self::FilterByClass | Self::EntryById | Self::Stats => true,
            Self::PushKnown | Self::TakeOne => false,
        }
    }

    /// Does it once; `at` says where.
    pub async fn run(self, bed: &Bed, at: u64) -> anyhow::Result<()> {
        // Far apart, and none twice in a row.
        let somewhere = at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let number = somewhere % bed.entries;
        match self {
            Self::Peek => {
                let page = bed.letters.page(QUEUE, &Filter::default(), None, 10, bed.now).await?;
                anyhow::ensure!(page.items.len() == 10, "a short page");
            }
            Self::FilterByClass => {
                let class = fill::class(3);
                let filter = Filter { error_class: Some(class), ..Filter::default() };
                let places = u64::try_from(bed.places.len())?;
                let place = somewhere.checked_rem(places).and_then(|at| usize::try_from(at).ok());
                let after = place.and_then(|place| bed.places.get(place));
                let page = bed.letters.page(QUEUE, &filter, after, 20, bed.now).await?;
                anyhow::ensure!(page.items.len() == 20, "a short page");
            }
            Self::EntryById => {
                let entry = bed.letters.get(QUEUE, &fill::id(number), bed.now).await?;
                entry.context("an entry is lost")?;
            }
            Self::Stats => {
                bed.letters.stats(QUEUE, bed.now).await?;
            }
            Self::PushKnown => {
                let letter = fill::letter(number, bed.now);
                bed.letters.push(QUEUE, &letter, bed.now).await?;
            }
            Self::TakeOne => {
                // It ends at once: the next one finds the queue as it was.
                let lease = TimeDelta::milliseconds(-1);
                let taken = bed.letters.take(QUEUE, bed.now, lease, 1).await?;
                anyhow::ensure!(taken.len() == 1, "nothing to take");
            }
        }
        Ok(())
    }
}

/// How long something took, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Timing {
    pub operation: Operation,
    pub samples: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// The same thing at the same place, on average: by the service, and by Redis's own benchmark.
    pub own_ms: f64,
    pub redis_benchmark_ms: f64,
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, p50_ms, p99_ms, max_ms, own_ms, redis_benchmark_ms, .. } = self;
        write!(f, "{}: p50 {p50_ms:.3} ms, p99 {p99_ms:.3}, max {max_ms:.1}; ", operation.name())?;
        write!(f, "at one place {own_ms:.3}, by redis-benchmark {redis_benchmark_ms:.3}")
    }
}

/// The durations of something that was done often.
#[derive(Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn add(&mut self, began: Instant) {
        self.0.push(began.elapsed().as_secs_f64() * 1e3);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// So many of a thousand took at most that long.
    pub fn quantile(&mut self, per_mille: usize) -> f64 {
        self.0.sort_by(f64::total_cmp);
        let at = (self.0.len() * per_mille / 1_000).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or(f64::NAN)
    }
}

pub async fn measure(bed: &mut Bed, operation: Operation) -> anyhow::Result<Timing> {
    let mut samples = Samples::default();
    for at in 0..SAMPLES {
        let began = Instant::now();
        operation.run(bed, at).await?;
        samples.add(began);
    }
    // At one place, so that both do the same.
    let place = 77;
    let words = words_of(bed, operation, place).await?;
    let (mut own_ms, mut redis_benchmark_ms) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..PER_ROUND {
            operation.run(bed, place).await?;
        }
        own_ms = own_ms.min(began.elapsed().as_secs_f64() * 1e3 / f64::from(PER_ROUND));
        redis_benchmark_ms = redis_benchmark_ms.min(redis_benchmark(bed, &words, PER_ROUND).await?);
    }
    Ok(Timing {
        operation,
        samples: samples.len(),
        p50_ms: samples.quantile(500),
        p99_ms: samples.quantile(990),
        max_ms: samples.quantile(1_000),
        own_ms,
        redis_benchmark_ms,
    })
}
