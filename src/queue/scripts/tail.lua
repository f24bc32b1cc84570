-- How long a predecessor's list is, and the entries at its old end, oldest first: as many as asked for,
-- and after the first one not more bytes than that.
-- KEYS: the list. ARGV: how many, bytes
local told, bytes = {}, 0
for at = 1, tonumber(ARGV[1]) do
  local entry = redis.call('lindex', KEYS[1], -at)
  if not entry or (at > 1 and bytes + #entry > tonumber(ARGV[2])) then break end
  told[at], bytes = entry, bytes + #entry
end
return { redis.call('llen', KEYS[1]), told }
