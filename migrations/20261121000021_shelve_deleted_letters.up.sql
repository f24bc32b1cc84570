-- When an operator deleted the letter of a row: then nobody writes the letter anew. Empty again once the
-- letter is restored.
alter table webhook_events add column shelved_at timestamptz;
alter table outbox add column shelved_at timestamptz;
