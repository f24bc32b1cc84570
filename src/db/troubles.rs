//! What is wrong, as Postgres knows it: the questions of the one screen, over several tables. Reads only.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::domain::checkout::CheckoutId;
use crate::domain::money::Halalas;
use crate::domain::status::{Pile, Question};

/// The oldest questions to a person that are open, with the money of the payments that they are about.
pub async fn list_questions(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Question>> {
    sqlx::query_as!(
        Question,
        r#"
        select reviews.id, opened_at, reviews.payment_id,
            coalesce(reviews.checkout_id, payments.checkout_id) as "checkout_id: CheckoutId",
            coalesce(standing = 'held', false) as "is_held!",
            coalesce(greatest(amount_halalas - refunded_halalas, 0), 0) as "amount!: Halalas"
        from reviews
        left join payments on payments.id = reviews.payment_id
        where state = 'open'
        order by opened_at, reviews.id
        limit $1
        "#,
        limit,
    )
    .fetch_all(db)
    .await
}

/// An event that nobody has settled, of a payment that nobody has recorded.
#[derive(Clone, Debug)]
pub struct UnsettledEvent {
    pub id: Uuid,
    pub body: Vec<u8>,
}

/// The oldest events that speak of money and were not settled, nor their payments recorded.
pub async fn list_unsettled(
    db: impl PgExecutor<'_>,
    limit: i64,
) -> sqlx::Result<Vec<UnsettledEvent>> {
    sqlx::query_as!(
        UnsettledEvent,
        r#"
        select id, body
        from webhook_events event
        where status in ('received', 'failed') and (status = 'received' or shelved_at is null)
            and event_type in ('payment_paid', 'payment_captured')
            and not exists (select from payments where payments.id = event.payment_id)
        order by received_at
        limit $1
        "#,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Whose invoices those are, as far as they are ours.
pub async fn map_invoices(
    db: impl PgExecutor<'_>,
    ids: &[String],
) -> sqlx::Result<HashMap<String, CheckoutId>> {
    let rows = sqlx::query!(
        r#"select id, checkout_id as "checkout_id: CheckoutId" from invoices where id = any($1)"#,
        ids,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.checkout_id)).collect())
}

/// Checkouts of which nobody knows whether there is an invoice.
pub async fn in_doubt(db: impl PgExecutor<'_>) -> sqlx::Result<Pile> {
    let row = sqlx::query!(
        r#"select count(*) as "number!", min(created_at) as oldest_at
         from checkouts where status = 'opening' and look_at is not null"#
    )
    .fetch_one(db)
    .await?;
    Ok(pile(row.number, row.oldest_at))
}

/// The oldest of them.
pub async fn list_in_doubt(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<CheckoutId>> {
    sqlx::query_scalar!(
        r#"select id as "id: CheckoutId" from checkouts
         where status = 'opening' and look_at is not null
         order by created_at
         limit $1"#,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Checkouts about which the provider should have been asked before `now`.
pub async fn overdue_looks(db: impl PgExecutor<'_>, now: DateTime<Utc>) -> sqlx::Result<Pile> {
    let row = sqlx::query!(
        r#"select count(*) as "number!", min(look_at) as oldest_at
         from checkouts where look_at <= $1"#,
        now,
    )
    .fetch_one(db)
    .await?;
    Ok(pile(row.number, row.oldest_at))
}

/// How many events analytics itself will not have; without those that an operator has laid aside.
pub async fn count_refused_events(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from outbox where status = 'refused' and shelved_at is null"#
    )
    .fetch_one(db)
    .await
}

/// How many refused deliveries were kept since then.
pub async fn count_quarantined(db: impl PgExecutor<'_>, since: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from quarantined_webhooks where received_at > $1"#,
        since,
    )
    .fetch_one(db)
    .await
}

/// So many since then.
pub fn pile(number: i64, oldest_at: Option<DateTime<Utc>>) -> Pile {
    Pile { number: u64::try_from(number).unwrap_or_default(), oldest_at }
}
