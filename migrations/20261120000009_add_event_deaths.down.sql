drop index webhook_events_suspects;
alter table webhook_events drop column lease_owner, drop column deaths, drop column error_class;
