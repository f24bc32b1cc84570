-- The last deliveries that did not carry our secret, for whoever looks into an attack or a wrong setting.
create table quarantined_webhooks (
    id uuid primary key,
    source text not null,
    -- Its beginning, the presented token blanked.
    body bytea not null,
    body_length integer not null,
    request_id text not null,
    received_at timestamptz not null
);

create index quarantined_webhooks_by_time on quarantined_webhooks (received_at);
