-- Whose a kept delivery is: a number that means nothing after a restart. Null in rows of older releases,
-- which count as one sender's.
alter table quarantined_webhooks add column sender bigint;

-- How many deliveries did not carry our secret, kept or not.
create table refused_webhooks (
    source text not null,
    hour timestamptz not null,
    refused bigint not null,
    primary key (source, hour)
);
