-- What an operator looks up by: the request that a customer names, and the checkout of an event that
-- analytics was told.
create index checkouts_by_request on checkouts (request_id);
create index webhook_events_by_request on webhook_events (request_id);
create index audit_log_by_request on audit_log (request_id) where request_id is not null;
create index outbox_by_checkout on outbox ((properties ->> 'checkout_id'));
create index audit_log_by_actor on audit_log (actor, id);
create index audit_log_by_action on audit_log (action, id);
