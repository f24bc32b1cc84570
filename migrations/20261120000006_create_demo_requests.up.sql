-- Visitors who asked to be called: leads, none of which may be lost.
create table demo_requests (
    id uuid primary key,
    name text not null,
    email text not null,
    company text,
    phone text,
    message text,
    consented_at timestamptz not null,
    request_id text not null,
    created_at timestamptz not null
);

create index demo_requests_by_time on demo_requests (created_at);
