-- Brings letters over from the previous layout, unless they changed meanwhile; one whose id is here
-- already gives way. KEYS[2] is what the names of its keys began with.
-- ARGV: release, then for each: id, the letter as it was read, due at, place, created at, class, source,
-- group, request, error
local old, brought = KEYS[2], 0
for at = 4, #ARGV, 10 do
  local id, letter = ARGV[at], ARGV[at + 1]
  local ends = tonumber(call('zscore', old .. 'leased', id) or '0')
  if ends <= now and (call('hget', old .. 'letters', id) or '') == letter then
    local deaths = call('hget', old .. 'deaths', id)
    for _, part in ipairs({ 'due', 'leased', 'dead', 'ages' }) do call('zrem', old .. part, id) end
    for _, part in ipairs({ 'letters', 'leases', 'deaths' }) do call('hdel', old .. part, id) end
    if letter ~= '' and call('hexists', base .. 'letters', id) == 0 then
      local number = call('incr', base .. 'number')
      local face = { tonumber(ARGV[at + 4]), number, ARGV[at + 5], ARGV[at + 6], ARGV[at + 7], ARGV[at + 8] }
      call('hset', base .. 'letters', id, letter)
      index(id, face)
      see_group(face, ARGV[at + 9], ARGV[3])
      if deaths then call('hset', base .. 'deaths', id, deaths) end
      if ARGV[at + 3] == 'd' then die(id, face[1], face[5]) else wait(id, face[1], tonumber(ARGV[at + 2])) end
    end
    brought = brought + 1
  end
end
return brought
