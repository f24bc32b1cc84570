-- Makes letters ready that are scheduled or dead: 1 done, 0 not there, 2 in hand.
-- ARGV: ids
advance()
local changes = {}
for at = 3, #ARGV do
  local id = ARGV[at]
  local state = state_of(id)
  if not state then
    changes[#changes + 1] = 0
  elseif state == 'in_flight' then
    changes[#changes + 1] = 2
  else
    if state ~= 'ready' then
      local created = tonumber(call('zscore', base .. state, id))
      leave(id)
      wait(id, created, now)
    end
    changes[#changes + 1] = 1
  end
end
return changes
