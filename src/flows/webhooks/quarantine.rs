//! Keep the last deliveries that were refused, and count all of them, for whoever looks into an attack
//! or a wrong setting. No request waits for it, and whatever is sent, little is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc};
use uuid::Uuid;

use crate::clients::moyasar::envelope::Unproved;
use crate::clock::Clock;
use crate::db;
use crate::db::quarantine::{Kept, RefusedDelivery};
use crate::faults;
use crate::flows::webhooks::incoming::SOURCE;

/// How many may wait to be written; more are only counted. Whoever offers has a budget.
const PLACES: usize = 32;

/// How many are written in one go.
const BATCH: usize = 5;

/// How much of a body is kept.
const LONGEST_BODY: usize = 4 * 1024;

/// How many rows are kept in all and of one sender, and for how long: at most 4 MiB of bodies.
const ROWS: i64 = 1_000;
const ROWS_OF_ONE: i64 = 20;
const KEPT: TimeDelta = TimeDelta::days(30);

/// Where refused deliveries are offered.
#[derive(Clone)]
pub(crate) struct Quarantine {
    places: mpsc::Sender<RefusedDelivery>,
    refused: Arc<AtomicI64>,
}

/// Who writes them down.
#[derive(Clone)]
pub(crate) struct KeepQuarantine {
    db: PgPool,
    /// How many were refused since that was written down.
    refused: Arc<AtomicI64>,
    waiting: Arc<Mutex<mpsc::Receiver<RefusedDelivery>>>,
    clock: Clock,
}

/// Both ends of a new quarantine.
pub(crate) fn quarantine(db: PgPool, clock: Clock) -> (Quarantine, KeepQuarantine) {
    let (places, waiting) = mpsc::channel(PLACES);
    let (refused, waiting) = (Arc::<AtomicI64>::default(), Arc::new(Mutex::new(waiting)));
    let offered = Quarantine { places, refused: Arc::clone(&refused) };
    (offered, KeepQuarantine { db, refused, waiting, clock })
}

impl Quarantine {
    /// Counts a delivery that was refused, whether or not it is offered.
    pub fn count(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Offers a delivery. Unless there is a place, nothing of it is even copied.
    pub fn offer(
        &self,
        unproved: &Unproved<'_>,
        sender: i64,
        request_id: &str,
        received_at: DateTime<Utc>,
    ) {
        let Ok(place) = self.places.try_reserve() else { return };
        let mut body = unproved.redacted();
        let body_length = i32::try_from(body.len()).unwrap_or(i32::MAX);
        body.truncate(LONGEST_BODY);
        let (id, request_id) = (Uuid::now_v7(), request_id.to_owned());
        place.send(RefusedDelivery { id, sender, body, body_length, request_id, received_at });
    }
}

impl KeepQuarantine {
    /// Writes a few of those that wait and how many there were, and lets old ones go; tells how many it
    /// wrote. What cannot be written now is forgotten, because this is no store; the count is not.
    pub async fn run(&self) -> sqlx::Result<usize> {
        let mut refused = Vec::with_capacity(BATCH);
        let mut waiting = self.waiting.lock().await;
        while refused.len() < BATCH
            && let Ok(one) = waiting.try_recv()
        {
            refused.push(one);
        }
        drop(waiting);
        let count = self.refused.swap(0, Ordering::Relaxed);
        if refused.is_empty() && count == 0 {
            return Ok(0);
        }
        let (now, kept) = (self.clock.now(), Kept { rows: ROWS, of_one: ROWS_OF_ONE });
        let hour = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
        let write = async {
            let mut tx = self.db.begin().await?;
            for one in &refused {
                db::quarantine::insert(&mut *tx, SOURCE, one).await?;
            }
            db::quarantine::count(&mut *tx, SOURCE, hour, count).await?;
            db::quarantine::trim(&mut tx, kept, now - KEPT).await?;
            faults::step("quarantine_unsaved");
            tx.commit().await?;
            faults::step("quarantine_saved");
            Ok(())
        };
        if let Err(error) = db::in_time(write).await {
            self.refused.fetch_add(count, Ordering::Relaxed);
            return Err(error);
        }
        Ok(refused.len())
    }
}
