-- One customer's attempt to buy one plan; written before the payment provider is asked.
create table checkouts (
    id uuid primary key,
    channel text not null,
    plan_id text not null,
    amount_halalas bigint not null check (amount_halalas >= 100),
    currency text not null,
    -- Whose subscription it pays: the tenant, else the lower-cased e-mail address.
    subscriber text not null,
    customer_name text,
    customer_email text not null,
    customer_phone text,
    tenant_id text,
    lead_id text,
    locale text not null,
    distinct_id text not null,
    -- Stands in the invoice's callback URL, so that only the provider can guess it.
    callback_token text not null,
    status text not null,
    last_attempt_status text,
    last_attempt_message text,
    refunded_halalas bigint not null default 0 check (refunded_halalas >= 0),
    request_id text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    expires_at timestamptz not null,
    paid_at timestamptz,
    constraint checkouts_callback_token_once unique (callback_token)
);

-- Those whose outcome is not known yet: a job asks the provider about them.
create index checkouts_unresolved on checkouts (created_at) where status in ('opening', 'pending');
create index checkouts_by_subscriber on checkouts (subscriber, created_at);

-- The provider's payment pages. A checkout can have more than one; each has one checkout.
create table invoices (
    id text primary key,
    checkout_id uuid not null references checkouts (id),
    payment_url text not null,
    expires_at timestamptz,
    created_at timestamptz not null
);

create index invoices_by_checkout on invoices (checkout_id);
