//! Announce reviews: whoever is on duty is told of every question to a person, however its process ended.
//!
//! A row says whether it was announced, and is marked only when somebody has taken the announcement:
//! Sentry by its answer, or, where there is no Sentry, the log. Telling twice is harmless: the fingerprint
//! is the review's, so it stays one issue.

use futures_util::future::join_all;
use sqlx::PgPool;

use crate::clients::sentry::{Report, Sentry};
use crate::clock::Clock;
use crate::db;
use crate::db::reviews::Review;
use crate::faults;

/// How many are announced at once: fewer than the reports that Sentry's queue holds.
const PAGE: i64 = 20;

/// What it needs.
#[derive(Clone)]
pub struct AnnounceReviews {
    pub db: PgPool,
    pub sentry: Sentry,
    pub clock: Clock,
}

impl AnnounceReviews {
    /// Announces one page, oldest first; tells how many were taken. The others wait.
    pub async fn announce_page(&self) -> sqlx::Result<usize> {
        let waiting = db::in_time(db::reviews::list_unannounced(&self.db, PAGE)).await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        faults::step("reviews_unannounced");
        let taken = join_all(waiting.iter().map(|review| self.announce(review))).await;
        faults::step("reviews_announced");
        let pairs = waiting.iter().zip(taken);
        let ids: Vec<_> = pairs.filter(|(_, taken)| *taken).map(|(review, _)| review.id).collect();
        if ids.len() < waiting.len() {
            let left = waiting.len() - ids.len();
            tracing::warn!(left, "Sentry has not taken {left} announcements: they are repeated");
        }
        if !ids.is_empty() {
            let mark = db::reviews::set_announced(&self.db, &ids, self.clock.now());
            db::in_time(mark).await?;
            faults::step("reviews_marked");
        }
        Ok(ids.len())
    }

    /// Tells whoever is on duty; `false` when it is not known that anybody heard it.
    async fn announce(&self, review: &Review) -> bool {
        let Review { id, kind, difference, .. } = review;
        let message = format!("A person must decide: {difference}");
        let fields = [
            ("review.id", Some(id.to_string())),
            ("kind", Some(kind.clone())),
            ("payment.id", review.payment_id.clone()),
            ("checkout.id", review.checkout_id.map(|id| id.to_string())),
            ("event.id", review.event_id.map(|id| id.to_string())),
        ];
        let report = Report {
            message: message.clone(),
            logger: module_path!().to_owned(),
            fields: fields.into_iter().filter_map(|(name, text)| Some((name, text?))).collect(),
            fingerprint: Some(format!("review {id}")),
            ..Report::default()
        };
        match self.sentry.prove(report).await.map(|proof| proof.is_confirmed) {
            // No error where there is Sentry: it would be a second report.
            Some(true) => tracing::warn!(review.id = %id, kind, "{message}"),
            Some(false) => return false,
            None => tracing::error!(review.id = %id, kind, "{message}"),
        }
        true
    }
}
