-- Leases the letters that are due for longest, unless the queue is paused. One whose worker died is
-- taken alone.
-- ARGV: lease until, token, how many
advance()
local taken = {}
if call('exists', base .. 'paused') == 1 or ARGV[5] == '0' then return taken end
for _, id in ipairs(call('zrange', base .. 'line', 0, tonumber(ARGV[5]) - 1)) do
  local deaths = deaths_of(id)
  if deaths > 0 and #taken > 0 then break end
  lease(id, tonumber(call('zscore', base .. 'ready', id)), 'w', ARGV[3], ARGV[4])
  taken[#taken + 1] = { id, call('hget', base .. 'letters', id) or '', deaths, 'w' }
  if deaths > 0 then break end
end
return taken
