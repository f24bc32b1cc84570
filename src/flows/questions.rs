//! Ask a person: a question is written in the transaction that brought it up, and announced by
//! [`announce_reviews`](crate::flows::announce_reviews) once it is committed.

use sqlx::{PgExecutor, PgPool};

use crate::db;
use crate::db::reviews::NewReview;
use crate::wake::Wake;

/// Questions to a person, asked in a transaction, announced once it is committed.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// How many of them were not asked before.
    new: usize,
}

impl Questions {
    /// Writes a question, if it is new.
    pub async fn ask(
        &mut self,
        db: impl PgExecutor<'_>,
        review: &NewReview<'_>,
    ) -> sqlx::Result<()> {
        self.new += usize::from(db::reviews::insert(db, review).await?);
        Ok(())
    }

    /// Writes a question that is part of nothing else, if it is new, and has it announced.
    pub async fn ask_alone(db: &PgPool, wake: &Wake, review: &NewReview<'_>) -> sqlx::Result<()> {
        let mut questions = Self::default();
        questions.ask(db, review).await?;
        questions.announce(wake);
        Ok(())
    }

    /// Has them announced at once. Who dies before this is not needed for it: the rows say what is owed.
    pub fn announce(self, wake: &Wake) {
        if self.new > 0 {
            wake.reviews.notify_one();
        }
    }
}
