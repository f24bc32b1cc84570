drop index checkouts_by_email;

alter table invoices
    drop column is_surplus,
    drop column cancel_at,
    drop column cancel_token,
    drop column cancel_failures,
    drop column cancel_outcome;

alter table checkouts
    drop column opened_at,
    drop column look_at,
    drop column looked_at,
    drop column look_token,
    drop column look_failures;
