//! What belongs together: whatever an id names, its family over all tables, and how each of it stands.
//! What happened to it is in [`timeline`]. Reads only.

use sqlx::PgExecutor;
use uuid::Uuid;

use crate::domain::money::Halalas;
use crate::domain::story::{Actor, Thing};

pub mod timeline;

/// What a name turned out to be.
#[derive(Clone, Debug)]
pub struct Named {
    pub thing: Thing,
    /// As its table knows it.
    pub id: String,
}

/// Whatever bears that name; of a name that several bear, the one nearest to money.
pub async fn find(
    db: impl PgExecutor<'_>,
    name: &str,
    id: Option<Uuid>,
) -> sqlx::Result<Option<Named>> {
    sqlx::query_as!(
        Named,
        r#"
        select thing as "thing!: Thing", id as "id!" from (
            select 1 as rank, 'payment' as thing, id from payments where id = $1
            union all select 2, 'invoice', id from invoices where id = $1
            union all select 3, 'checkout', id::text from checkouts where id = $2
            union all select 4, 'event', id::text from webhook_events where id = $2
            union all select 5, 'event', id::text from webhook_events
                where source = 'moyasar' and dedupe_key = $1
            union all (select 6, 'payment', payment_id from webhook_events where payment_id = $1 limit 1)
            union all select 7, 'review', id::text from reviews where id = $2
            union all select 8, 'analytics_event', uuid::text from outbox where uuid = $2
            union all (select 9, 'request', request_id from checkouts where request_id = $1 limit 1)
            union all (select 9, 'request', request_id from webhook_events where request_id = $1 limit 1)
            union all (select 9, 'request', request_id from audit_log where request_id = $1 limit 1)
        ) as found
        order by rank
        limit 1
        "#,
        name,
        id,
    )
    .fetch_optional(db)
    .await
}

/// The names of everything that belongs together.
#[derive(Clone, Debug, Default)]
pub struct Family {
    pub checkouts: Vec<Uuid>,
    pub payments: Vec<String>,
    pub events: Vec<Uuid>,
    pub reviews: Vec<Uuid>,
}

/// The family of what was named: up to `limit` of its checkouts, newest first, and of each other kind.
pub async fn get_family(
    db: impl PgExecutor<'_>,
    named: &Named,
    limit: i64,
) -> sqlx::Result<Family> {
    let id = Uuid::try_parse(&named.id).ok();
    sqlx::query_as!(
        Family,
        r#"
        with seed as (
            select id as event_id, payment_id, null::uuid as checkout_id from webhook_events
            where ($1 = 'event' and id = $3) or ($1 = 'request' and request_id = $2)
            union all
            select event_id, payment_id, checkout_id from reviews where $1 = 'review' and id = $3
            union all
            select null, $2, null where $1 = 'payment'
            union all
            select null, null, checkout_id from invoices where $1 = 'invoice' and id = $2
            union all
            select null, null, $3 where $1 = 'checkout'
            union all
            select null, null, id from checkouts where $1 = 'request' and request_id = $2
            union all
            select null, null, (properties ->> 'checkout_id')::uuid from outbox
            where $1 = 'analytics_event' and uuid = $3
            union all
            (select null, null, id from checkouts
             where $1 = 'email' and lower(customer_email) = lower($2)
             order by created_at desc limit $4)
        ), bought as (
            select checkout_id as id from seed where checkout_id is not null
            union
            select checkout_id from payments
            where id in (select payment_id from seed) and checkout_id is not null
            limit $4
        ), paid as (
            select payment_id as id from seed where payment_id is not null
            union
            select id from payments where checkout_id in (select id from bought)
            limit $4
        ), told as (
            select event_id as id from seed where event_id is not null
            union
            (select id from webhook_events where payment_id in (select id from paid)
             order by received_at desc limit $4)
        )
        select array(select id from bought) as "checkouts!",
            array(select id from paid) as "payments!",
            array(select id from told) as "events!",
            array(
                select id from reviews
                where payment_id in (select id from paid) or checkout_id in (select id from bought)
                    or event_id in (select id from told) or ($1 = 'review' and id = $3)
                order by opened_at desc limit $4
            ) as "reviews!"
        "#,
        named.thing as Thing,
        named.id,
        id,
        limit,
    )
    .fetch_one(db)
    .await
}

/// Everything of a family, as it stands.
pub async fn list_actors(db: impl PgExecutor<'_>, family: &Family) -> sqlx::Result<Vec<Actor>> {
    sqlx::query_as!(
        Actor,
        r#"
        select thing as "thing!: Thing", id, state as "state!", more, amount as "amount: Halalas",
            failures as "failures!"
        from (
            select 1 as rank, created_at as at, 'checkout' as thing, id::text as id, status as state,
                null as more, amount_halalas as amount, 0::bigint as failures
            from checkouts where id = any($1)
            union all
            select 2, invoices.created_at, 'invoice', invoices.id,
                case when is_surplus then 'surplus'
                    when checkouts.status in ('opening', 'pending') then 'payable' else 'closed' end,
                cancel_outcome, null, cancel_failures::bigint
            from invoices join checkouts on checkouts.id = checkout_id where checkout_id = any($1)
            union all
            select 3, created_at, 'payment', id, status, standing, amount_halalas, 0
            from payments where id = any($2)
            union all
            select 4, created_at, 'subscription', null, status, null, null, 0
            from subscriptions
            where subscriber in (select subscriber from checkouts where id = any($1))
            union all
            select 5, opened_at, 'review', id::text, state, kind, null, 0
            from reviews where id = any($4)
            union all
            select 6, received_at, 'event', id::text, status, coalesce(outcome, error_class), null,
                attempts::bigint
            from webhook_events where id = any($3)
        ) as actors
        order by rank, at, id
        limit 100
        "#,
        &family.checkouts,
        &family.payments,
        &family.events,
        &family.reviews,
    )
    .fetch_all(db)
    .await
}
