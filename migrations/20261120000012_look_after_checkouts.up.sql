-- When the provider is to be asked about a checkout (null: not any more), and who is asking.
alter table checkouts
    add column opened_at timestamptz,
    add column look_at timestamptz,
    add column looked_at timestamptz,
    add column look_token uuid,
    add column look_failures integer not null default 0;

update checkouts set opened_at = created_at
where exists (select from invoices where checkout_id = checkouts.id);

update checkouts
set look_at = case when status = 'opening' then created_at + interval '1 minute'
    else expires_at + interval '10 minutes' end
where status in ('opening', 'pending');

-- The previous release does not know the column; what it opens is looked after as well.
alter table checkouts alter column look_at set default now() + interval '1 minute';

create index checkouts_to_look_after on checkouts (look_at) where look_at is not null;

-- How many checkouts an address has started lately.
create index checkouts_by_email on checkouts (lower(customer_email), created_at);

-- A second payment page of a checkout is one too many: it is canceled, and the attempt may fail.
alter table invoices
    add column is_surplus boolean not null default false,
    add column cancel_at timestamptz,
    add column cancel_token uuid,
    add column cancel_failures integer not null default 0,
    add column cancel_outcome text;

create index invoices_to_cancel on invoices (cancel_at) where cancel_at is not null;
