-- Moves letters to the bin, unless somebody has them in hand: 1 done, 0 not there, 2 in hand. What is in
-- the bin already was moved by whoever asked before, maybe by the same.
-- ARGV: by whom, ids
advance()
local changes = {}
for at = 4, #ARGV do
  local id = ARGV[at]
  local state, due = state_of(id)
  if not state then
    changes[#changes + 1] = call('hexists', base .. 'bin', id)
  elseif state == 'in_flight' then
    changes[#changes + 1] = 2
  else
    leave(id)
    local face, deaths = face_of(id), deaths_of(id)
    local place = state == 'dead' and 'd' or 'w'
    local kept = { call('hget', base .. 'letters', id), face, place, due or now, deaths, ARGV[3], now }
    unindex(id, face)
    call('hdel', base .. 'letters', id)
    call('hdel', base .. 'deaths', id)
    call('hset', base .. 'bin', id, cmsgpack.pack(kept))
    call('zadd', base .. 'binned', now, id)
    changes[#changes + 1] = 1
  end
end
return changes
