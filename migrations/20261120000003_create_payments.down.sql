drop table subscriptions;
drop table payment_effects;
drop table payments;
