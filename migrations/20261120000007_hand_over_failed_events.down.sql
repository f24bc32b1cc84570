alter table webhook_events drop column handed_over_at;
