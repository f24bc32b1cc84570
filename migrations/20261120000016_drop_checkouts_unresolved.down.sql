create index checkouts_unresolved on checkouts (created_at) where status in ('opening', 'pending');
