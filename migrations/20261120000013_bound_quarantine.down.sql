drop table refused_webhooks;
alter table quarantined_webhooks drop column sender;
