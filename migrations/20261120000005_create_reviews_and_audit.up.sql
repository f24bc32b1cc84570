-- What needs a person.
create table reviews (
    id uuid primary key,
    kind text not null,
    payment_id text,
    checkout_id uuid,
    event_id uuid,
    difference text not null,
    state text not null default 'open',
    opened_at timestamptz not null,
    resolution text,
    reason text,
    resolved_by text,
    resolved_at timestamptz,
    -- One difference is asked about once, however often it is seen.
    constraint reviews_once unique nulls not distinct (kind, payment_id, checkout_id, event_id, difference)
);

create index reviews_open on reviews (opened_at) where state = 'open';

-- Who changed what, and why. Rows are only ever added.
create table audit_log (
    id uuid primary key,
    happened_at timestamptz not null,
    actor text not null,
    action text not null,
    subject text not null,
    reason text,
    before json,
    after json,
    request_id text
);

create index audit_log_by_time on audit_log (happened_at);
create index audit_log_by_subject on audit_log (subject, happened_at);
