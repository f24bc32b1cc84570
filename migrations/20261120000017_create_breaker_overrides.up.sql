-- What operators say about circuit breakers: one row each, from the first word on.
create table breaker_overrides (
    name text primary key,
    -- Grows with every word. Instances compare it, so that an older word never takes the place of a newer one.
    version bigint not null,
    -- How often it was told to begin anew.
    resets bigint not null,
    forced text check (forced in ('open', 'closed')),
    forced_until timestamptz,
    -- Of the last word.
    reason text,
    actor text not null,
    changed_at timestamptz not null,
    constraint breaker_overrides_end check ((forced is null) = (forced_until is null))
);
