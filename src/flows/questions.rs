//! Ask a person: a question is written in the transaction that brought it up, and whoever is on duty is
//! told once it is committed.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::db;
use crate::db::reviews::NewReview;
use crate::domain::checkout::CheckoutId;

/// Questions to a person, asked in a transaction, announced once it is committed.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Questions(Vec<Question>);

/// A question that was not asked before.
#[derive(Debug)]
struct Question {
    kind: &'static str,
    payment: Option<String>,
    checkout: Option<CheckoutId>,
    event: Option<Uuid>,
    difference: String,
}

impl Questions {
    /// Writes a question, if it is new.
    pub async fn ask(
        &mut self,
        db: impl PgExecutor<'_>,
        review: &NewReview<'_>,
    ) -> sqlx::Result<()> {
        if db::reviews::insert(db, review).await? {
            self.0.push(Question {
                kind: review.kind,
                payment: review.payment_id.map(str::to_owned),
                checkout: review.checkout_id,
                event: review.event_id,
                difference: review.difference.to_owned(),
            });
        }
        Ok(())
    }

    /// Writes a question that is part of nothing else, if it is new, and tells whoever is on duty.
    pub async fn ask_alone(db: &PgPool, review: &NewReview<'_>) -> sqlx::Result<()> {
        let mut questions = Self::default();
        questions.ask(db, review).await?;
        questions.announce();
        Ok(())
    }

    /// Tells whoever is on duty.
    pub fn announce(self) {
        for Question { kind, payment, checkout, event, difference } in self.0 {
            tracing::error!(
                payment.id = payment,
                checkout.id = checkout.map(tracing::field::display),
                event.id = event.map(tracing::field::display),
                kind,
                "A person must decide: {difference}"
            );
        }
    }
}
