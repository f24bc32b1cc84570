drop index subscriptions_running;
drop index reviews_by_state;
alter table checkouts drop column last_attempt_at;
