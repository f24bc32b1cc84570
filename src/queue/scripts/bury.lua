-- Moves a letter of the holder of the token to the dead, where only an operator looks.
-- ARGV: id, token, letter, now
if redis.call('hget', KEYS[4], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('hset', KEYS[1], ARGV[1], ARGV[3])
redis.call('zadd', KEYS[6], ARGV[4], ARGV[1])
redis.call('zrem', KEYS[3], ARGV[1])
redis.call('hdel', KEYS[4], ARGV[1])
redis.call('hdel', KEYS[5], ARGV[1])
redis.call('zrem', KEYS[7], ARGV[1])
return 1
