//! The sandbox's time of day: the real one, plus an offset that tests may set. Retry waits do not use it.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use serde::Serializer;

/// Tells the time; moving it makes invoices expire without waiting for them.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// The time in whole milliseconds, because that is all the wire shows.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let offset = TimeDelta::milliseconds(self.offset_ms.load(Ordering::Relaxed));
        let now = Utc::now().trunc_subsecs(3);
        now.checked_add_signed(offset).unwrap_or(now)
    }

    pub(crate) fn set(&self, at: DateTime<Utc>) {
        self.offset_ms.store((at - Utc::now()).num_milliseconds(), Ordering::Relaxed);
    }

    pub(crate) fn advance(&self, by: TimeDelta) {
        self.offset_ms.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}

/// `2026-11-18T09:41:07.512Z`, as payments and invoices write it.
pub(crate) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `2026-11-18T09:41:08Z`, as webhook envelopes write it.
pub(crate) fn stamp_in_seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(crate) fn millis<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&stamp(*at))
}

#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(crate) fn optional_millis<S: Serializer>(
    at: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => millis(at, serializer),
        None => serializer.serialize_none(),
    }
}
