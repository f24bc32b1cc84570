-- Events for product analytics, written in the transaction of what happened, sent afterwards.
create table outbox (
    id bigint generated always as identity primary key,
    uuid uuid not null,
    name text not null,
    distinct_id text not null,
    happened_at timestamptz not null,
    properties json not null,
    -- pending, sent, skipped (analytics was switched off), refused (analytics will not have it).
    status text not null,
    attempts integer not null default 0,
    next_attempt_at timestamptz not null,
    last_error text,
    lease_token uuid,
    lease_until timestamptz,
    request_id text,
    settled_at timestamptz,
    constraint outbox_uuid_once unique (uuid)
);

create index outbox_due on outbox (next_attempt_at, id) where status = 'pending';
