drop table breaker_overrides;
