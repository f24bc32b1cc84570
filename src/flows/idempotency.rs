//! Do a request once, however often it is made: claim its key, and later store its answer or give the
//! key back, each in a transaction of the flow that does the work.
//!
//! A claim always has a subject (such as a checkout) that is written with it, and whatever settles the
//! subject settles the key. So a process may die between any two steps. What may be done again without
//! being done twice needs nobody to settle it: then a key is its request's while that can still run.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgTransaction;
use uuid::Uuid;

use crate::db;
use crate::db::idempotency_keys::NewKey;

/// How long an answer is kept.
const LIFE: TimeDelta = TimeDelta::hours(24);

/// A request takes less than this; after it, only a look at the other side can tell how it ended.
const LONGEST_REQUEST: TimeDelta = TimeDelta::seconds(30);

/// When a look has told how it ended, with a margin.
const RESOLVED: TimeDelta = TimeDelta::seconds(65);

/// For how long a request that may be done again has its key, with a margin. Nobody works longer.
const LEASE: TimeDelta = TimeDelta::seconds(40);

/// How soon to ask again at the earliest.
const SOON: Duration = Duration::from_secs(5);

/// A client's name for one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey {
    /// The caller and the route.
    pub scope: String,
    /// Of the key: the text itself is not kept.
    pub digest: [u8; 32],
    /// Of the request's body, however it is written.
    pub fingerprint: [u8; 32],
}

/// An answer, and whether it was given before to the same request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered<T> {
    pub answer: T,
    pub is_replayed: bool,
}

impl<T> Answered<T> {
    /// What was done just now.
    pub const fn new(answer: T) -> Self {
        Self { answer, is_replayed: false }
    }
}

/// What became of a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim<T> {
    /// The request is new: do it, and settle the key in the last transaction.
    Won,
    /// It was done: this was its answer.
    Done(T),
    /// Its key stands for another request.
    Reused,
    /// It is being done, or nobody knows yet how it ended.
    InProgress { retry_after: Duration },
}

/// Claims the key for the request about `subject`. Whatever but [`Claim::Won`] comes back, nothing of
/// the transaction may be kept.
pub async fn claim<T: DeserializeOwned>(
    tx: &mut PgTransaction<'_>,
    key: &IdempotencyKey,
    subject: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<Claim<T>> {
    claim_until(tx, key, subject, (now, now + LIFE)).await
}

/// Claims the key for a request that may be done again, because whatever it does is done once: for as
/// long as one can run, unless [`keep`] or a release settles it before. Of a request whose process died
/// nobody knows how far it came, and the next one with its key takes the rest.
pub async fn claim_while_running<T: DeserializeOwned>(
    tx: &mut PgTransaction<'_>,
    key: &IdempotencyKey,
    subject: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<Claim<T>> {
    Ok(match claim_until(tx, key, subject, (now, now + LEASE)).await? {
        Claim::InProgress { .. } => Claim::InProgress { retry_after: SOON },
        claim @ (Claim::Won | Claim::Done(_) | Claim::Reused) => claim,
    })
}

/// Stores the answer of a request that had its key while it ran, from now on as long as any other.
pub async fn keep(
    tx: &mut PgTransaction<'_>,
    subject: Uuid,
    answer: &(impl Serialize + Sync),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    db::idempotency_keys::complete(tx, subject, answer).await?;
    db::idempotency_keys::set_expiry(tx, subject, now + LIFE).await
}

async fn claim_until<T: DeserializeOwned>(
    tx: &mut PgTransaction<'_>,
    key: &IdempotencyKey,
    subject: Uuid,
    (now, expires_at): (DateTime<Utc>, DateTime<Utc>),
) -> sqlx::Result<Claim<T>> {
    let IdempotencyKey { scope, digest, fingerprint } = key;
    let created_at = now;
    let new = NewKey { scope, key_digest: digest, fingerprint, subject, created_at, expires_at };
    if db::idempotency_keys::claim(tx, new).await? {
        return Ok(Claim::Won);
    }
    let Some(held) = db::idempotency_keys::find(&mut **tx, scope, digest).await? else {
        // It was given back between the two statements.
        return Ok(Claim::InProgress { retry_after: SOON });
    };
    if held.fingerprint != fingerprint {
        return Ok(Claim::Reused);
    }
    match held.answer {
        Some(answer) => {
            let answer = serde_json::from_value(answer.0);
            answer.map(Claim::Done).map_err(|error| sqlx::Error::Decode(error.into()))
        }
        None => Ok(Claim::InProgress { retry_after: patience(now - held.created_at) }),
    }
}

/// How long to wait for a request that was made so long ago.
fn patience(age: TimeDelta) -> Duration {
    if age < LONGEST_REQUEST {
        return SOON;
    }
    (RESOLVED - age).to_std().unwrap_or_default().max(SOON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_too_early_is_told_when_it_is_known_how_it_ended() {
        for (age, wait) in [(0, 5), (29, 5), (30, 35), (55, 10), (60, 5), (65, 5), (86_000, 5)] {
            assert_eq!(patience(TimeDelta::seconds(age)).as_secs(), wait, "{age}");
        }
    }
}
