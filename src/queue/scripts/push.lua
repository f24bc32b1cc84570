-- Adds a letter, due at ARGV[3], unless one with its id is here already, in whatever state.
-- ARGV: id, letter, due at, created at
local known = redis.call('hget', KEYS[1], ARGV[1])
if known then
  -- Written once more, so that a confirmation of this write covers the first one too.
  redis.call('hset', KEYS[1], ARGV[1], known)
  return 0
end
redis.call('hset', KEYS[1], ARGV[1], ARGV[2])
redis.call('zadd', KEYS[2], ARGV[3], ARGV[1])
redis.call('zadd', KEYS[7], ARGV[4], ARGV[1])
return 1
