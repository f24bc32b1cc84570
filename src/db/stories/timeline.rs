//! What happened to a family, from every table that remembers when.

use serde_json::Value;
use sqlx::PgExecutor;

use super::Family;
use crate::domain::story::Happening;

/// The newest `limit` happenings, newest first.
pub async fn list(
    db: impl PgExecutor<'_>,
    family: &Family,
    request_id: Option<&str>,
    limit: i64,
) -> sqlx::Result<Vec<Happening>> {
    let checkouts: Vec<_> = family.checkouts.iter().map(ToString::to_string).collect();
    let ids = family.checkouts.iter().chain(&family.events).chain(&family.reviews);
    let subjects: Vec<_> =
        ids.map(ToString::to_string).chain(family.payments.iter().cloned()).collect();
    sqlx::query_as!(
        Happening,
        r#"
        select at as "at!", what as "what!", subject as "subject!", details as "details!: Value", request_id
        from (
            select created_at as at, 1 as step, 'checkout_started' as what, id::text as subject,
                json_build_object('plan', plan_id, 'amount_halalas', amount_halalas, 'channel', channel,
                    'status', status) as details, request_id
            from checkouts where id = any($1)
            union all
            select created_at, 2, 'invoice_stored', id,
                json_build_object('checkout_id', checkout_id, 'is_surplus', is_surplus), null
            from invoices where checkout_id = any($1)
            union all
            select opened_at, 3, 'checkout_opened', id::text, json_build_object(), null
            from checkouts where id = any($1)
            union all
            select last_attempt_at, 4, 'attempt_ended', id::text,
                json_build_object('status', last_attempt_status, 'message', last_attempt_message), null
            from checkouts where id = any($1)
            union all
            select paid_at, 5, 'checkout_paid', id::text, json_build_object(), null
            from checkouts where id = any($1)
            union all
            select received_at, 6, 'webhook_received', id::text,
                json_build_object('event_id', dedupe_key, 'type', event_type, 'payment_id', payment_id,
                    'attempts', attempts, 'last_error', last_error), request_id
            from webhook_events where id = any($3)
            union all
            select created_at, 7, 'payment_recorded', id,
                json_build_object('invoice_id', invoice_id, 'amount_halalas', amount_halalas,
                    'currency', currency), null
            from payments where id = any($2)
            union all
            select happened_at, 8, 'payment_effect', payment_id, json_build_object('effect', effect), null
            from payment_effects where payment_id = any($2)
            union all
            select opened_at, 9, 'review_opened', id::text,
                json_build_object('kind', kind, 'difference', difference), null
            from reviews where id = any($4)
            union all
            select happened_at, 10, 'audit', subject,
                json_build_object('action', action, 'actor', actor, 'reason', reason, 'before', before,
                    'after', after), request_id
            from audit_log where subject = any($5) or request_id = $6
            union all
            select happened_at, 11, 'analytics_event', uuid::text,
                json_build_object('name', name, 'status', status), request_id
            from outbox where properties ->> 'checkout_id' = any($7)
            union all
            select handed_over_at, 12, 'webhook_handed_over', id::text,
                json_build_object('last_error', last_error), null
            from webhook_events where id = any($3)
            union all
            select done_at, 13, 'webhook_settled', id::text,
                json_build_object('status', status, 'outcome', outcome), null
            from webhook_events where id = any($3)
            union all
            select resolved_at, 14, 'review_resolved', id::text,
                json_build_object('resolution', resolution, 'reason', reason, 'by', resolved_by), null
            from reviews where id = any($4)
            union all
            select looked_at, 15, 'provider_asked', id::text, json_build_object(), null
            from checkouts where id = any($1)
        ) as happened
        where at is not null
        order by at desc, step desc, subject desc
        limit $8
        "#,
        &family.checkouts,
        &family.payments,
        &family.events,
        &family.reviews,
        &subjects,
        request_id,
        &checkouts,
        limit,
    )
    .fetch_all(db)
    .await
}
