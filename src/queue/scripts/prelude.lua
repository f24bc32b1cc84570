-- What every script of a queue begins with. KEYS[1] is what the names of its keys begin with.
-- ARGV: now, what the tokens of this process begin with; the script's own follow.
-- Out of memory Redis refuses a script's first write if it adds, and nothing after a first removal:
-- so a script that only moves or shrinks begins with a removal, and one that adds with an addition.
local base, now, process = KEYS[1], tonumber(ARGV[1]), ARGV[2]
local call = redis.call

-- What a letter is found by: created at, number, class, source, group, request.
local function face_of(id)
  local packed = call('hget', base .. 'faces', id)
  return packed and cmsgpack.unpack(packed) or { now, 0, 'unreadable', 'unknown', 'unreadable', '' }
end

local function request_of(id, face)
  return face[6] .. '\0' .. string.format('%015.0f', face[1]) .. '\0' .. id
end

local function index(id, face)
  call('hset', base .. 'faces', id, cmsgpack.pack(face))
  call('zadd', base .. 'class:' .. face[3], face[1], id)
  call('zadd', base .. 'source:' .. face[4], face[1], id)
  call('zadd', base .. 'group:' .. face[5], face[1], id)
  call('zadd', base .. 'requests', 0, request_of(id, face))
end

local function unindex(id, face)
  call('zrem', base .. 'class:' .. face[3], id)
  call('zrem', base .. 'source:' .. face[4], id)
  call('zrem', base .. 'group:' .. face[5], id)
  call('zrem', base .. 'requests', request_of(id, face))
  call('hdel', base .. 'faces', id)
  if call('exists', base .. 'group:' .. face[5]) == 0 then
    call('zrem', base .. 'groups_live', face[5])
    call('zadd', base .. 'groups_gone', now, face[5])
  end
end

-- A group: class, a sample of its errors, release that saw it first, first and last seen, first dead.
local function group_of(name)
  local packed = call('hget', base .. 'groups', name)
  return packed and cmsgpack.unpack(packed)
end

local function see_group(face, sample, release)
  local group = group_of(face[5]) or { face[3], sample, release, now, now, 0 }
  if now > group[5] then group[5] = now end
  call('hset', base .. 'groups', face[5], cmsgpack.pack(group))
  call('zadd', base .. 'groups_live', group[4], face[5])
  call('zrem', base .. 'groups_gone', face[5])
end

-- Where a letter is, and until when: the time at which it is due, or at which its lease ends.
local function state_of(id)
  if call('zscore', base .. 'ready', id) then return 'ready' end
  local due = call('zscore', base .. 'due', id)
  if due then return 'scheduled', tonumber(due) end
  local ends = call('zscore', base .. 'leased', id)
  if ends then return 'in_flight', tonumber(ends) end
  if call('zscore', base .. 'dead', id) then return 'dead' end
end

-- Takes a letter from where it is; it has to be put somewhere afterwards.
local function leave(id)
  if call('zrem', base .. 'ready', id) == 1 then
    call('zrem', base .. 'line', id)
  elseif call('zrem', base .. 'scheduled', id) == 1 then
    call('zrem', base .. 'due', id)
  elseif call('zrem', base .. 'in_flight', id) == 1 then
    call('zrem', base .. 'leased', id)
    call('hdel', base .. 'leases', id)
  else
    call('zrem', base .. 'dead', id)
  end
end

local function wait(id, created, due)
  if due <= now then
    call('zadd', base .. 'ready', created, id)
    call('zadd', base .. 'line', due, id)
  else
    call('zadd', base .. 'scheduled', created, id)
    call('zadd', base .. 'due', due, id)
  end
end

local function die(id, created, group_name)
  call('zadd', base .. 'dead', created, id)
  local group = group_of(group_name)
  if group and group[6] == 0 then
    group[6] = now
    call('hset', base .. 'groups', group_name, cmsgpack.pack(group))
  end
end

-- The token in `leases` begins with where the letter returns to: `d` to the dead, `w` to the waiting.
local function lease(id, created, from, ends, token)
  leave(id)
  call('zadd', base .. 'in_flight', created, id)
  call('zadd', base .. 'leased', ends, id)
  call('hset', base .. 'leases', id, from .. token)
end

local function deaths_of(id)
  return tonumber(call('hget', base .. 'deaths', id) or '0')
end

-- What time brings about by itself: leases end, and what was scheduled is due.
local function advance()
  local ended = call('zrangebyscore', base .. 'leased', '-inf', now, 'limit', 0, 100)
  for _, id in ipairs(ended) do
    local created = tonumber(call('zscore', base .. 'in_flight', id))
    local token = call('hget', base .. 'leases', id) or 'w'
    leave(id)
    -- A process that still asks is not dead: it was only slow.
    if string.sub(token, 2, #process + 1) ~= process then call('hincrby', base .. 'deaths', id, 1) end
    if string.sub(token, 1, 1) == 'd' then
      call('zadd', base .. 'dead', created, id)
    else
      wait(id, created, now)
    end
  end
  local due = call('zrangebyscore', base .. 'due', '-inf', now, 'withscores', 'limit', 0, 200)
  for at = 1, #due, 2 do
    local id = due[at]
    local created = tonumber(call('zscore', base .. 'scheduled', id))
    leave(id)
    wait(id, created, tonumber(due[at + 1]))
  end
end
