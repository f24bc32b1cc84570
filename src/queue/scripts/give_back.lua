-- Ends the lease of the holder of the token; the letter is due at ARGV[4]. Its worker lives, so
-- earlier deaths say nothing about it.
-- ARGV: id, token, letter, due at
if redis.call('hget', KEYS[4], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('hset', KEYS[1], ARGV[1], ARGV[3])
redis.call('zadd', KEYS[2], ARGV[4], ARGV[1])
redis.call('zrem', KEYS[3], ARGV[1])
redis.call('hdel', KEYS[4], ARGV[1])
redis.call('hdel', KEYS[5], ARGV[1])
return 1
