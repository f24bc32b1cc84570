-- Takes letters out of the bin, each to the state it had: 1 done, 0 not there, 3 an entry with its id
-- is in the queue again, and stays.
-- ARGV: how many to pass over and to look at (or '' and ''), ids
local ids = {}
if ARGV[3] ~= '' then
  ids = call('zrange', base .. 'binned', tonumber(ARGV[3]), tonumber(ARGV[3]) + tonumber(ARGV[4]) - 1)
else
  for at = 5, #ARGV do ids[#ids + 1] = ARGV[at] end
end
local changes = {}
for at, id in ipairs(ids) do
  local packed = call('hget', base .. 'bin', id)
  if not packed then
    changes[at] = 0
  elseif call('hexists', base .. 'letters', id) == 1 then
    changes[at] = 3
  else
    call('hdel', base .. 'bin', id)
    call('zrem', base .. 'binned', id)
    local kept = cmsgpack.unpack(packed)
    local face = kept[2]
    call('hset', base .. 'letters', id, kept[1])
    index(id, face)
    see_group(face, '', '')
    if kept[5] > 0 then call('hset', base .. 'deaths', id, kept[5]) end
    if kept[3] == 'd' then die(id, face[1], face[5]) else wait(id, face[1], kept[4]) end
    changes[at] = 1
  end
end
return changes
