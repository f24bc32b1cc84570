-- When whoever is on duty was told of it. Those of before this were told by the process that asked.
alter table reviews add column announced_at timestamptz;
update reviews set announced_at = opened_at;

-- What nobody has been told of yet.
create index reviews_unannounced on reviews (id) where announced_at is null;
