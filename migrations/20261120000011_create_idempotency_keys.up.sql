-- Requests that may be repeated without being done twice. The key itself is not kept.
create table idempotency_keys (
    -- Who asks, and what of: two callers, or two routes, never share a key.
    scope text not null,
    key_digest bytea not null,
    -- Of the request's body: the same key with another body is a mistake of the caller's.
    fingerprint bytea not null,
    -- What the request is about, such as its checkout; whatever settles that settles the key.
    subject uuid not null,
    -- Absent while the request runs, or while nobody knows how it ended.
    answer json,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    primary key (scope, key_digest)
);

create index idempotency_keys_by_subject on idempotency_keys (subject);
create index idempotency_keys_by_expiry on idempotency_keys (expires_at);
