-- Payments as the provider showed them when it was asked, and what we did about them.
create table payments (
    id text primary key,
    checkout_id uuid references checkouts (id),
    invoice_id text,
    status text not null,
    standing text not null,
    amount_halalas bigint not null,
    currency text not null,
    refunded_halalas bigint not null default 0,
    captured_halalas bigint not null default 0,
    provider_updated_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

create index payments_by_checkout on payments (checkout_id);

-- What a payment has brought about. The key is what makes each effect happen once.
create table payment_effects (
    payment_id text not null references payments (id),
    effect text not null,
    happened_at timestamptz not null,
    primary key (payment_id, effect)
);

create table subscriptions (
    subscriber text primary key,
    plan_id text not null,
    status text not null,
    current_period_start timestamptz not null,
    current_period_end timestamptz not null check (current_period_end > current_period_start),
    payment_id text not null references payments (id),
    created_at timestamptz not null,
    updated_at timestamptz not null
);
