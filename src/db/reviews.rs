//! The `reviews` table: what needs a person.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgTransaction};
use uuid::Uuid;

use crate::domain::checkout::CheckoutId;
use crate::domain::review::ReviewState;

/// A difference that a person must look at.
#[derive(Clone, Debug)]
pub struct NewReview<'a> {
    pub kind: &'static str,
    pub payment_id: Option<&'a str>,
    pub checkout_id: Option<CheckoutId>,
    pub event_id: Option<Uuid>,
    pub difference: &'a str,
    pub opened_at: DateTime<Utc>,
}

/// Opens a review; `false` when the same difference was asked about before.
pub async fn insert(db: impl PgExecutor<'_>, new: &NewReview<'_>) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "insert into reviews (id, kind, payment_id, checkout_id, event_id, difference, opened_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict on constraint reviews_once do nothing",
        Uuid::now_v7(),
        new.kind,
        new.payment_id,
        new.checkout_id as Option<CheckoutId>,
        new.event_id,
        new.difference,
        new.opened_at,
    )
    .execute(db)
    .await?;
    Ok(result.rows_affected() == 1)
}

/// How many questions nobody has answered yet.
pub async fn count_open(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from reviews where state = 'open'"#)
        .fetch_one(db)
        .await
}

/// A question to a person, and its answer if it has one.
#[derive(Clone, Debug)]
pub struct Review {
    pub id: Uuid,
    pub kind: String,
    pub payment_id: Option<String>,
    pub checkout_id: Option<CheckoutId>,
    pub event_id: Option<Uuid>,
    pub difference: String,
    pub state: ReviewState,
    pub opened_at: DateTime<Utc>,
    pub resolution: Option<String>,
    pub reason: Option<String>,
    pub resolved_by: Option<String>,
    pub resolved_at: Option<DateTime<Utc>>,
}

/// Reviews of one state, oldest first, after the one with the id `after`.
pub async fn list(
    db: impl PgExecutor<'_>,
    state: ReviewState,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Review>> {
    sqlx::query_as!(
        Review,
        r#"
        select id, kind, payment_id, checkout_id as "checkout_id: CheckoutId", event_id, difference,
            state as "state: ReviewState", opened_at, resolution, reason, resolved_by, resolved_at
        from reviews
        where state = $1 and ($2::uuid is null or id > $2)
        order by id
        limit $3
        "#,
        state as ReviewState,
        after,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Reviews that nobody has been told of yet, oldest first.
pub async fn list_unannounced(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Review>> {
    sqlx::query_as!(
        Review,
        r#"
        select id, kind, payment_id, checkout_id as "checkout_id: CheckoutId", event_id, difference,
            state as "state: ReviewState", opened_at, resolution, reason, resolved_by, resolved_at
        from reviews
        where announced_at is null
        order by id
        limit $1
        "#,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Marks reviews as announced.
pub async fn set_announced(
    db: impl PgExecutor<'_>,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update reviews set announced_at = $2 where id = any($1) and announced_at is null",
        ids,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Locks a review until the transaction ends, so that two people cannot both resolve it.
pub async fn lock(tx: &mut PgTransaction<'_>, id: Uuid) -> sqlx::Result<Option<Review>> {
    sqlx::query_as!(
        Review,
        r#"
        select id, kind, payment_id, checkout_id as "checkout_id: CheckoutId", event_id, difference,
            state as "state: ReviewState", opened_at, resolution, reason, resolved_by, resolved_at
        from reviews
        where id = $1
        for update
        "#,
        id,
    )
    .fetch_optional(&mut **tx)
    .await
}

/// Writes the answer to a locked review.
pub async fn set_resolved(tx: &mut PgTransaction<'_>, review: &Review) -> sqlx::Result<()> {
    sqlx::query!(
        "update reviews set state = $2, resolution = $3, reason = $4, resolved_by = $5,
             resolved_at = $6
         where id = $1",
        review.id,
        review.state as ReviewState,
        review.resolution,
        review.reason,
        review.resolved_by,
        review.resolved_at,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
