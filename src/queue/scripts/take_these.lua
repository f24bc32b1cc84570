-- Leases letters by their ids: those that wait, with 'dead' also those that are dead. One whose worker
-- died is taken alone; what comes behind it is left, and told.
-- ARGV: lease until, token, 'dead' or '', ids
advance()
local taken, left = {}, {}
local is_alone = false
for at = 6, #ARGV do
  local id = ARGV[at]
  local state = state_of(id)
  if state == 'ready' or state == 'scheduled' or (state == 'dead' and ARGV[5] == 'dead') then
    local deaths = deaths_of(id)
    is_alone = is_alone or (deaths > 0 and #taken > 0)
    if is_alone then
      left[#left + 1] = id
    else
      local from = state == 'dead' and 'd' or 'w'
      lease(id, tonumber(call('zscore', base .. state, id)), from, ARGV[3], ARGV[4])
      taken[#taken + 1] = { id, call('hget', base .. 'letters', id) or '', deaths, from }
      is_alone = deaths > 0
    end
  end
end
return { taken, left }
