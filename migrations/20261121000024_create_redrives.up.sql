-- Orders to replay everything of a queue that matched at one moment, and how far each has come.
create table redrives (
    id uuid primary key,
    queue text not null,
    filter json not null,
    -- Letters with a higher number came later.
    mark bigint not null,
    rate_per_s integer check (rate_per_s > 0),
    stop_at_failure_percent integer not null check (stop_at_failure_percent between 0 and 100),
    one_first boolean not null,
    status text not null check (status in ('running', 'paused', 'cancelled', 'completed', 'stopped')),
    stopped_because text,
    matched bigint not null,
    is_matched_exact boolean not null,
    succeeded bigint not null default 0,
    failed bigint not null default 0,
    held bigint not null default 0,
    -- How much of that was before it was last let go on after it had stopped: judged are only the others.
    excused_tried bigint not null default 0,
    excused_undone bigint not null default 0,
    -- Everything before this place is done with.
    cursor text,
    -- When the next letter may be taken.
    next_at timestamptz not null,
    lease_token uuid,
    lease_until timestamptz,
    actor text not null,
    reason text,
    request_id text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    ended_at timestamptz,
    constraint redrives_lease check ((lease_token is null) = (lease_until is null)),
    constraint redrives_stopped check ((stopped_because is not null) = (status = 'stopped'))
);

-- One of a queue at a time.
create unique index redrives_active on redrives (queue) where status in ('running', 'paused');
create index redrives_by_queue on redrives (queue, id);
