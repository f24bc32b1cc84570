-- Whose lease it is (one id per start of a process), so that a lease which outlived its process is
-- told from one that its own process gave up; how many processes ended with the event in hand; and
-- the kind of its last failure, for whoever takes a failed event over.
alter table webhook_events
    add column lease_owner uuid,
    add column deaths integer not null default 0,
    add column error_class text;

-- What is in hand, and what must be settled alone.
create index webhook_events_suspects on webhook_events (next_attempt_at)
    where status = 'received' and (deaths > 0 or lease_token is not null);
