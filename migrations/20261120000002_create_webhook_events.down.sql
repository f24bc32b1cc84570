drop table webhook_events;
