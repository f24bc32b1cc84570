-- Adds a letter, due at ARGV[3], unless one with its id is here already, in whatever state.
-- One that is here and differs in its body's digest is marked as changed. With ARGV[6] = '1' it gives
-- way to the new one, unless it says `stored_event` already.
-- ARGV: id, letter, due at, created at, digest of the body, whether it replaces
local known = redis.call('hget', KEYS[1], ARGV[1])
if not known then
  redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
  redis.call('zadd', KEYS[2], ARGV[3], ARGV[1])
  redis.call('zadd', KEYS[7], ARGV[4], ARGV[1])
  return 1
end
local is_read, read = pcall(cjson.decode, known)
if not is_read or type(read) ~= 'table' then read = {} end
local payload = type(read.payload) == 'table' and read.payload or {}
local is_replaced = ARGV[6] == '1' and payload.kind ~= 'stored_event'
local differs = type(read.body_sha256) == 'string' and read.body_sha256 ~= ARGV[5]
local written = is_replaced and ARGV[2] or known
if (is_replaced or read.is_changed ~= true) and (differs or read.is_changed == true) then
  -- Numbers would not survive being read and written again.
  written = string.sub(written, 1, -2) .. ',"is_changed":true}'
end
-- Also as it was: a confirmation of this write covers the first one too.
redis.call('hset', KEYS[1], ARGV[1], written)
if written ~= known then
  -- Whoever has it in hand settles what it was: it comes back for what it is now.
  local is_due = redis.call('zrem', KEYS[3], ARGV[1]) == 1
  redis.call('hdel', KEYS[4], ARGV[1])
  if is_replaced then
    redis.call('zrem', KEYS[6], ARGV[1])
    redis.call('hdel', KEYS[5], ARGV[1])
    redis.call('zadd', KEYS[7], 'nx', ARGV[4], ARGV[1])
    is_due = true
  end
  if is_due then redis.call('zadd', KEYS[2], ARGV[3], ARGV[1]) end
end
return 0
