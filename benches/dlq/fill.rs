//! Fills the queue, by the same push as the service's, many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use dealix::queue::{Extra, Letter, Letters, Payload, PushError};
use tokio::task::JoinSet;

use crate::bed::{Bed, QUEUE};

/// How many wait for their answer at a time, as a hundred webhooks at once would.
const ABREAST: usize = 128;

/// A push that Redis did not answer in time is repeated so often.
const PATIENCE: usize = 100;

/// How many classes of errors there are.
pub const CLASSES: u64 = 10;

/// What a fill showed.
pub struct Filled {
    pub pushes_per_s: f64,
}

/// The name of a class of errors.
pub fn class(number: u64) -> String {
    format!("class_{}", number % CLASSES)
}

/// The id of the entry with that number.
pub fn id(number: u64) -> String {
    format!("job:{number:012}")
}

/// Pushes what is missing to so many entries.
pub async fn fill(bed: &mut Bed, entries: u64) -> anyhow::Result<Filled> {
    bed.rewrites_by_itself(true).await?;
    bed.letter_bytes = written(&letter(0, bed.now))?;
    let next = Arc::new(AtomicU64::new(bed.entries));
    let (began, first) = (Instant::now(), bed.entries);
    let mut pushers = JoinSet::new();
    for _ in 0..ABREAST {
        pushers.spawn(push_all(bed.letters.clone(), Arc::clone(&next), entries, bed.now));
    }
    while let Some(ended) = tokio::select! {
        ended = pushers.join_next() => ended.map(Some),
        () = tokio::time::sleep(Duration::from_secs(5)) => Some(None),
    } {
        if let Some(ended) = ended {
            ended??;
        } else {
            eprintln!("bench: {} of {entries} entries", next.load(Ordering::Relaxed).min(entries));
        }
    }
    let pushes_per_s = f64::from(u32::try_from(entries - first)?) / began.elapsed().as_secs_f64();
    bed.entries = entries;
    let depth = bed.letters.count(QUEUE, bed.now).await?.depth();
    ensure!(depth == entries, "{depth} entries instead of {entries}");
    eprintln!("bench: {entries} entries, the last {} at {pushes_per_s:.0}/s", entries - first);
    Ok(Filled { pushes_per_s })
}

async fn push_all(
    letters: Letters,
    next: Arc<AtomicU64>,
    end: u64,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return Ok(());
        }
        push(&letters, number, now).await?;
    }
}

/// One that is there already stays, so a push may be repeated.
async fn push(letters: &Letters, number: u64, now: DateTime<Utc>) -> anyhow::Result<()> {
    let letter = letter(number, now);
    let mut last = None;
    for _ in 0..PATIENCE {
        // Three of twenty are dead, five are scheduled, the others are ready.
        let pushed = if number % 20 < 3 {
            letters.push_dead(QUEUE, &letter, now).await
        } else {
            letters.push(QUEUE, &letter, now).await
        };
        match pushed {
            Ok(_) => return Ok(()),
            Err(error @ (PushError::TimedOut | PushError::Redis(_))) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last.context("never tried")?).context("Redis does not take an entry")
}

/// An entry like many: a job of half a kilobyte that failed, one of fifty groups.
pub fn letter(number: u64, now: DateTime<Utc>) -> Letter {
    let made = now - TimeDelta::days(3) + TimeDelta::milliseconds(number.cast_signed() * 100);
    let is_scheduled = (3..8).contains(&(number % 20));
    let due = if is_scheduled { now + TimeDelta::days(1) } else { made };
    let template = ["welcome", "receipt", "reminder", "renewal", "farewell"];
    let source = template.get((number % 5) as usize).copied().unwrap_or("welcome");
    let padding = "مرحبا بك في ديلكس، ".repeat(10);
    Letter {
        id: id(number),
        source: format!("email_{source}"),
        error: format!("the server for {} refused the message", number / CLASSES % 5),
        error_class: class(number),
        attempt: 1,
        max_retries: 5,
        created_at: made,
        last_attempt_at: Some(made),
        next_attempt_at: due,
        request_id: format!("0198c0de-0000-7000-8000-{number:012}"),
        trace_id: None,
        payload: Payload::Job {
            body: format!(r#"{{"job":{number},"template":"{source}","text":"{padding}"}}"#),
        },
        body_sha256: None,
        is_changed: false,
        original: None,
        extra: Extra::default(),
    }
}

fn written(letter: &Letter) -> anyhow::Result<usize> {
    Ok(serde_json::to_vec(letter)?.len())
}
