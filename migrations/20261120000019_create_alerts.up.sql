-- What was said, or is to be said, to whoever is on call. One row per cause and time that it lasted.
create table alerts (
    id uuid primary key,
    kind text not null,
    -- The queue, service or review that it is about; empty where there is only one.
    subject text not null,
    message_en text not null,
    message_ar text not null,
    next_command text not null,
    raised_at timestamptz not null,
    cleared_at timestamptz,
    -- The last thing that whoever is on call was told: raised or cleared.
    told text,
    told_at timestamptz,
    attempts integer not null default 0,
    last_error text,
    -- When it is to be told next; null: there is nothing to tell.
    next_attempt_at timestamptz,
    lease_token uuid
);

create unique index alerts_open on alerts (kind, subject) where cleared_at is null;
create index alerts_due on alerts (next_attempt_at) where next_attempt_at is not null;
