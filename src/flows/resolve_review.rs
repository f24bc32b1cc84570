//! Resolve a review: one person decides, once, and says why.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::db;
use crate::db::audit_log::NewAudit;
use crate::db::reviews::Review;
use crate::domain::review::ReviewState;
use crate::faults;

/// What somebody decided.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// What is done about it.
    pub resolution: &'a str,
    /// Why.
    pub reason: &'a str,
    /// Who says so.
    pub actor: &'a str,
    pub request_id: &'a str,
    pub now: DateTime<Utc>,
}

/// Why a review was not resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("no such review")]
    NotFound,
    /// A second word would take the place of the first, so it is refused, also when it is the same.
    #[error("somebody has resolved it before")]
    AlreadyResolved,
    #[error("the database failed")]
    Storage(#[from] sqlx::Error),
}

/// Resolves the review, together with its audit row. It moves no money and no checkout: what was decided
/// is done at the provider, and comes back from there.
pub async fn resolve_review(
    db: &PgPool,
    id: Uuid,
    verdict: Verdict<'_>,
) -> Result<Review, ResolveError> {
    let resolving = async {
        let mut tx = db.begin().await?;
        let Some(before) = db::reviews::lock(&mut tx, id).await? else {
            return Ok(Err(ResolveError::NotFound));
        };
        if before.state == ReviewState::Resolved {
            return Ok(Err(ResolveError::AlreadyResolved));
        }
        let after = Review {
            state: ReviewState::Resolved,
            resolution: Some(verdict.resolution.to_owned()),
            reason: Some(verdict.reason.to_owned()),
            resolved_by: Some(verdict.actor.to_owned()),
            resolved_at: Some(verdict.now),
            ..before.clone()
        };
        db::reviews::set_resolved(&mut tx, &after).await?;
        let audit = NewAudit {
            actor: verdict.actor,
            action: "review.resolved",
            subject: &id.to_string(),
            reason: Some(verdict.reason),
            before: Some(summary(&before)),
            after: Some(summary(&after)),
            request_id: Some(verdict.request_id),
            happened_at: verdict.now,
        };
        db::audit_log::insert(&mut *tx, &audit).await?;
        faults::step("review_unresolved");
        tx.commit().await?;
        faults::step("review_resolved");
        Ok(Ok(after))
    };
    db::in_time(resolving).await?
}

fn summary(review: &Review) -> Value {
    json!({ "state": review.state.word(), "resolution": review.resolution })
}
