-- When an event that analytics refused was handed over to the dead-letter queue.
alter table outbox add column handed_over_at timestamptz;

create index outbox_refused on outbox (handed_over_at, id) where status = 'refused';
create index webhook_events_handed_over on webhook_events (handed_over_at) where status = 'failed';
