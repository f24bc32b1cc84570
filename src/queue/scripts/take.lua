-- Leases the letters that are due for longest. One whose worker died is taken alone.
-- ARGV: now, lease until, token, what the tokens of this process begin with, how many
local ended = redis.call('zrangebyscore', KEYS[3], '-inf', ARGV[1], 'limit', 0, 100)
for _, id in ipairs(ended) do
  local token = redis.call('hget', KEYS[4], id)
  -- A process that still takes letters is not dead: it was only slow.
  if token and string.sub(token, 1, #ARGV[4]) ~= ARGV[4] then
    redis.call('hincrby', KEYS[5], id, 1)
  end
  redis.call('zrem', KEYS[3], id)
  redis.call('hdel', KEYS[4], id)
  redis.call('zadd', KEYS[2], ARGV[1], id)
end
local taken = {}
local due = redis.call('zrangebyscore', KEYS[2], '-inf', ARGV[1], 'limit', 0, ARGV[5])
for _, id in ipairs(due) do
  local deaths = tonumber(redis.call('hget', KEYS[5], id) or '0')
  if deaths > 0 and #taken > 0 then break end
  local letter = redis.call('hget', KEYS[1], id)
  redis.call('zrem', KEYS[2], id)
  if letter then
    redis.call('zadd', KEYS[3], ARGV[2], id)
    redis.call('hset', KEYS[4], id, ARGV[3])
    taken[#taken + 1] = { id, letter, deaths }
  end
  if deaths > 0 then break end
end
return taken
