-- Lets leases end later, each for the holder of its token alone.
-- ARGV: until, then for each: id, token
local extended = {}
for at = 4, #ARGV, 2 do
  local is_ours = call('hget', base .. 'leases', ARGV[at]) == ARGV[at + 1]
  if is_ours then
    call('zrem', base .. 'leased', ARGV[at])
    call('zadd', base .. 'leased', ARGV[3], ARGV[at])
  end
  extended[#extended + 1] = is_ours and 1 or 0
end
return extended
