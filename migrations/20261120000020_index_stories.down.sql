drop index audit_log_by_action;
drop index audit_log_by_actor;
drop index outbox_by_checkout;
drop index audit_log_by_request;
drop index webhook_events_by_request;
drop index checkouts_by_request;
