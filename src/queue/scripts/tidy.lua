-- Forgets what is in the bin, and groups that are gone, since before a time; tells how many.
-- ARGV: before
local old = call('zrangebyscore', base .. 'binned', '-inf', ARGV[3], 'limit', 0, 500)
for _, id in ipairs(old) do
  call('zrem', base .. 'binned', id)
  call('hdel', base .. 'bin', id)
end
local gone = call('zrangebyscore', base .. 'groups_gone', '-inf', ARGV[3], 'limit', 0, 500)
for _, name in ipairs(gone) do
  call('zrem', base .. 'groups_gone', name)
  call('hdel', base .. 'groups', name)
end
return #old + #gone
