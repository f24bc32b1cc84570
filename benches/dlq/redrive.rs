//! How fast entries go through a redrive: a hundred thousand of those in the queue, by pages.

use std::time::Instant;

use anyhow::ensure;
use dealix::queue::{Filter, Reach, Verdict};
use serde::Serialize;

use crate::bed::{Bed, QUEUE};

/// How many are redriven.
const ENTRIES: u64 = 100_000;

/// How many are taken and settled in one round trip.
const PAGE: usize = 256;

/// What a redrive did.
#[derive(Debug, Serialize)]
pub struct Redrive {
    pub entries: u64,
    pub per_s: f64,
}

pub async fn measure(bed: &mut Bed) -> anyhow::Result<Redrive> {
    let before = bed.letters.count(QUEUE, bed.now).await?.depth();
    let filter = Filter { mark: Some(bed.letters.high_water(QUEUE).await?), ..Filter::default() };
    let (began, mut done, mut after) = (Instant::now(), 0_u64, None);
    while done < ENTRIES {
        let page = bed.letters.page_ids(QUEUE, &filter, after.as_ref(), PAGE, bed.now).await?;
        let reach = Reach::AlsoDead;
        let taken = bed.letters.take_these(QUEUE, &page.items, reach, bed.now, Bed::LEASE).await?;
        let verdicts: Vec<_> = taken.in_hand.iter().map(|held| (held, Verdict::Done)).collect();
        let settled = bed.letters.settle(QUEUE, bed.now, &verdicts).await?;
        ensure!(settled.iter().all(|is_ours| *is_ours), "a lease had ended");
        done += u64::try_from(settled.len())?;
        after = page.next;
        ensure!(after.is_some(), "the queue ended after {done} entries");
    }
    let per_s = f64::from(u32::try_from(done)?) / began.elapsed().as_secs_f64();
    let left = bed.letters.count(QUEUE, bed.now).await?.depth();
    ensure!(before - left == done, "{done} were settled, and {} are gone", before - left);
    eprintln!("bench: {done} entries redriven, {per_s:.0}/s");
    Ok(Redrive { entries: done, per_s })
}
