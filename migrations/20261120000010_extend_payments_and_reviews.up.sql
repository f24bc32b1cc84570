-- When the attempt began that the checkout shows as its last one: an older attempt that is heard of
-- later does not take its place.
alter table checkouts add column last_attempt_at timestamptz;

-- Reviews are listed newest first, by state; their ids are made in the order of time.
create index reviews_by_state on reviews (state, id);

-- Whose time may have come.
create index subscriptions_running on subscriptions (current_period_end)
    where status in ('active', 'past_due');
