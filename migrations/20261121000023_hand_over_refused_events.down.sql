drop index webhook_events_handed_over;
drop index outbox_refused;
alter table outbox drop column handed_over_at;
