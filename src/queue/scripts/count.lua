-- The figures of a queue: how many letters there are in each state; when the oldest that is not dead was
-- made, and the oldest that is; what failed last; how many are in the bin; who paused it.
local function oldest(state)
  local first = call('zrange', base .. state, 0, 0, 'withscores')
  return first[2] and tonumber(first[2])
end
local oldest_at
for _, state in ipairs({ 'ready', 'scheduled', 'in_flight' }) do
  local at = oldest(state)
  if at and (not oldest_at or at < oldest_at) then oldest_at = at end
end
local due = call('zcount', base .. 'due', '-inf', now)
return {
  {
    call('zcard', base .. 'ready') + due,
    call('zcard', base .. 'scheduled') - due,
    call('zcard', base .. 'in_flight'),
    call('zcard', base .. 'dead'),
  },
  { oldest_at or false, oldest('dead') or false },
  call('hmget', base .. 'last', 'error', 'class', 'source', 'at'),
  call('zcard', base .. 'binned'),
  call('hmget', base .. 'paused', 'by', 'reason', 'at'),
}
