//! The board on which every check leaves its last finding, and from which health is read: a
//! reader touches nothing but memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use metrics::gauge;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::health::{Check, Finding, Overall, Reading, Status, overall};

/// The last finding of every check.
#[derive(Clone)]
pub struct HealthBoard {
    readings: Arc<Mutex<BTreeMap<Check, Reading>>>,
    draining: CancellationToken,
    interval: Duration,
    clock: Clock,
}

/// What the board shows at one moment.
#[derive(Clone, Debug)]
pub struct HealthView {
    /// All of it in a word.
    pub overall: Overall,
    /// Every check is at least as fresh as this; `None` before the first round.
    pub checked_at: Option<DateTime<Utc>>,
    /// Every check, in the order in which they are shown.
    pub checks: Vec<CheckView>,
}

/// What the board shows of one check.
#[derive(Clone, Debug)]
pub struct CheckView {
    /// Which.
    pub check: Check,
    /// What it found, in so far as that still counts.
    pub finding: Finding,
    /// When it found it, and how long ago that is; `None` before its first round.
    pub found: Option<(DateTime<Utc>, Duration)>,
}

/// Why we should get no traffic, in a word for everybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotReady {
    /// We are about to stop.
    Draining,
    /// Nothing is known yet.
    Starting,
    /// The database does not answer.
    Postgres,
    /// The database lacks a migration of this binary.
    Migrations,
}

impl NotReady {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Starting => "starting",
            Self::Postgres => "postgres",
            Self::Migrations => "migrations",
        }
    }
}

impl HealthBoard {
    /// An empty board for checks that run once per `interval`. Once `draining` is cancelled
    /// we are not ready any more.
    pub fn new(interval: Duration, clock: Clock, draining: CancellationToken) -> Self {
        Self { readings: Arc::default(), draining, interval, clock }
    }

    /// Notes what a check found just now, and tells the world if that is news.
    pub fn record(&self, check: Check, finding: Finding) {
        let status = finding.status;
        let (error, text) = (finding.error, finding.text.clone());
        let reason = error.map(crate::domain::health::ErrorClass::name).or(finding.reason);
        let (checked_at, at) = (self.clock.now(), self.clock.monotonic());
        let reading = Reading { finding, checked_at, at };
        let before = self.lock().insert(check, reading);
        let before = before.map_or(Status::Unknown, |reading| reading.finding.status);
        if before != status {
            announce(check, before, status, reason, text.as_deref());
        }
    }

    /// Everything, as it counts now.
    pub fn view(&self) -> HealthView {
        let now = self.clock.monotonic();
        let readings = self.lock();
        let checks = Check::ALL.map(|check| match readings.get(&check) {
            Some(reading) => CheckView {
                check,
                finding: reading.judged(now, self.interval),
                found: Some((reading.checked_at, reading.age(now))),
            },
            None => CheckView { check, finding: Finding::bare(Status::Unknown), found: None },
        });
        drop(readings);
        let is_complete = checks.iter().all(|view| view.found.is_some());
        let oldest = checks.iter().filter_map(|view| view.found).map(|(at, _)| at).min();
        HealthView {
            overall: overall(checks.iter().map(|view| (view.check, view.finding.status))),
            checked_at: oldest.filter(|_| is_complete),
            checks: checks.into(),
        }
    }

    /// How one thing is now.
    pub fn status(&self, check: Check) -> Status {
        let now = self.clock.monotonic();
        let readings = self.lock();
        let reading = readings.get(&check);
        reading.map_or(Status::Unknown, |reading| reading.judged(now, self.interval).status)
    }

    /// Whether we should get traffic, and if not, why.
    pub fn readiness(&self) -> Result<(), NotReady> {
        if self.draining.is_cancelled() {
            return Err(NotReady::Draining);
        }
        if self.view().checked_at.is_none() {
            return Err(NotReady::Starting);
        }
        if self.status(Check::Postgres) != Status::Ok {
            return Err(NotReady::Postgres);
        }
        if self.status(Check::Migrations) != Status::Ok {
            return Err(NotReady::Migrations);
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Check, Reading>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn announce(
    check: Check,
    before: Status,
    now: Status,
    reason: Option<&'static str>,
    text: Option<&str>,
) {
    let (name, before_name, now_name) = (check.name(), before.name(), now.name());
    if before != Status::Unknown {
        gauge!("dealix_health_status", "check" => name, "status" => before_name).set(0);
    }
    gauge!("dealix_health_status", "check" => name, "status" => now_name).set(1);
    match now {
        Status::Fail | Status::Degraded => tracing::warn!(
            check = name,
            status = now_name,
            reason,
            text,
            "The health of {name} went from {before_name} to {now_name}"
        ),
        Status::Ok => tracing::info!(
            check = name,
            status = now_name,
            "The health of {name} went from {before_name} to {now_name}"
        ),
        Status::Disabled | Status::Unknown => (),
    }
}
