-- How many letters there are in each state, and when the oldest that is not dead was made.
-- ARGV: now
local oldest = redis.call('zrange', KEYS[7], 0, 0, 'withscores')
return {
  redis.call('zcount', KEYS[2], '-inf', ARGV[1]),
  redis.call('zcount', KEYS[2], '(' .. ARGV[1], '+inf'),
  redis.call('zcard', KEYS[3]),
  redis.call('zcard', KEYS[6]),
  oldest[2] or false,
}
