-- Everything a provider ever told us, byte for byte but for its secret, before we answered 2xx.
create table webhook_events (
    id uuid primary key,
    source text not null,
    -- The provider's event id, else a hash of the body: what makes an event the same event.
    dedupe_key text not null,
    event_type text,
    payment_id text,
    body bytea not null,
    body_sha256 bytea not null,
    -- received (to be settled), done, ignored (moves no money), failed (attempts used up).
    status text not null,
    outcome text,
    last_error text,
    attempts integer not null default 0,
    next_attempt_at timestamptz not null,
    lease_token uuid,
    lease_until timestamptz,
    request_id text not null,
    trace_id text,
    received_at timestamptz not null,
    done_at timestamptz,
    constraint webhook_events_once unique (source, dedupe_key)
);

-- What the workers look for.
create index webhook_events_due on webhook_events (next_attempt_at) where status = 'received';
-- What was given up: the gauges count it, and an operator looks for it.
create index webhook_events_failed on webhook_events (received_at) where status = 'failed';
create index webhook_events_by_payment on webhook_events (payment_id, received_at);
