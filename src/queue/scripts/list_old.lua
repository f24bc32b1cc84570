-- Some letters of the previous layout that nobody has in hand: id, letter, when it is due and was made,
-- and where it returns to. KEYS[2] is what the names of its keys began with.
local old, told = KEYS[2], {}
local function tell(place, ids)
  for _, id in ipairs(ids) do
    local letter = call('hget', old .. 'letters', id) or ''
    local due = tonumber(call('zscore', old .. 'due', id) or now)
    local made = tonumber(call('zscore', old .. 'ages', id) or call('zscore', old .. 'dead', id) or now)
    told[#told + 1] = { id, letter, due, made, place }
  end
end
tell('w', call('zrange', old .. 'due', 0, 49))
tell('w', call('zrangebyscore', old .. 'leased', '-inf', now, 'limit', 0, 50))
tell('d', call('zrange', old .. 'dead', 0, 49))
return told
