//! When something that failed is tried again.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// `pause` later, ±20 %, so that what failed together does not come back together.
pub(super) fn after(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    let percent = fastrand::u32(80..=120);
    now + pause * percent / 100
}
