drop table quarantined_webhooks;
