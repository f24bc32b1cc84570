//! Keep the last deliveries that were refused, for whoever looks into an attack or a wrong setting. No
//! request waits for it, and whatever is sent, little is kept.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc};
use uuid::Uuid;

use crate::clients::moyasar::envelope::Unproved;
use crate::clock::Clock;
use crate::db;
use crate::db::quarantine::RefusedDelivery;
use crate::faults;
use crate::flows::webhooks::incoming::SOURCE;

/// How many may wait to be written; more are only counted.
const PLACES: usize = 32;

/// How many are written in one go.
const BATCH: usize = 5;

/// How much of a body is kept.
const LONGEST_BODY: usize = 8 * 1024;

/// How many rows are kept, and for how long.
const ROWS: i64 = 1_000;
const KEPT: TimeDelta = TimeDelta::days(30);

/// Where refused deliveries are offered.
#[derive(Clone)]
pub(crate) struct Quarantine {
    places: mpsc::Sender<RefusedDelivery>,
}

/// Who writes them down.
#[derive(Clone)]
pub(crate) struct KeepQuarantine {
    db: PgPool,
    waiting: Arc<Mutex<mpsc::Receiver<RefusedDelivery>>>,
    clock: Clock,
}

/// Both ends of a new quarantine.
pub(crate) fn quarantine(db: PgPool, clock: Clock) -> (Quarantine, KeepQuarantine) {
    let (places, waiting) = mpsc::channel(PLACES);
    (Quarantine { places }, KeepQuarantine { db, waiting: Arc::new(Mutex::new(waiting)), clock })
}

impl Quarantine {
    /// Offers a delivery. Unless there is a place, nothing of it is even copied.
    pub fn offer(&self, unproved: &Unproved<'_>, request_id: &str, received_at: DateTime<Utc>) {
        let Ok(place) = self.places.try_reserve() else { return };
        let mut body = unproved.redacted();
        let body_length = i32::try_from(body.len()).unwrap_or(i32::MAX);
        body.truncate(LONGEST_BODY);
        let (id, request_id) = (Uuid::now_v7(), request_id.to_owned());
        place.send(RefusedDelivery { id, body, body_length, request_id, received_at });
    }
}

impl KeepQuarantine {
    /// Writes a few of those that wait, and lets old ones go; tells how many it wrote. What cannot be
    /// written now is forgotten: this is no store.
    pub async fn run(&self) -> sqlx::Result<usize> {
        let mut refused = Vec::with_capacity(BATCH);
        let mut waiting = self.waiting.lock().await;
        while refused.len() < BATCH
            && let Ok(one) = waiting.try_recv()
        {
            refused.push(one);
        }
        drop(waiting);
        if refused.is_empty() {
            return Ok(0);
        }
        let write = async {
            let mut tx = self.db.begin().await?;
            for one in &refused {
                db::quarantine::insert(&mut *tx, SOURCE, one).await?;
            }
            db::quarantine::trim(&mut tx, ROWS, self.clock.now() - KEPT).await?;
            faults::step("quarantine_unsaved");
            tx.commit().await?;
            faults::step("quarantine_saved");
            Ok(())
        };
        db::in_time(write).await?;
        Ok(refused.len())
    }
}
