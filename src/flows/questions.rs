//! Ask a person: a question is written in the transaction that brought it up, and whoever is on duty is
//! told once it is committed.

use sqlx::PgTransaction;

use crate::db;
use crate::db::reviews::NewReview;

/// Questions to a person, asked in a transaction, announced once it is committed.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Questions(Vec<(&'static str, Option<String>, String)>);

impl Questions {
    /// Writes a question, if it is new.
    pub async fn ask(
        &mut self,
        tx: &mut PgTransaction<'_>,
        review: &NewReview<'_>,
    ) -> sqlx::Result<()> {
        if db::reviews::insert(&mut **tx, review).await? {
            let payment = review.payment_id.map(str::to_owned);
            self.0.push((review.kind, payment, review.difference.to_owned()));
        }
        Ok(())
    }

    /// Tells whoever is on duty.
    pub fn announce(self) {
        for (kind, payment, difference) in self.0 {
            let payment = payment.unwrap_or_default();
            tracing::error!(payment.id = payment, kind, "A payment needs a person: {difference}");
        }
    }
}
