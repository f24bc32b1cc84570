alter table outbox drop column shelved_at;
alter table webhook_events drop column shelved_at;
