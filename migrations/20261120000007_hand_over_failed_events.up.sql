-- When a failed event was handed over to the dead-letter queue, which then decides when it is tried.
alter table webhook_events add column handed_over_at timestamptz;
