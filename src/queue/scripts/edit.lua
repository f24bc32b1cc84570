-- Writes a letter anew that is as it was read: 1 done, also by the same
-- words before, 0 not there, 2 in hand, 3 changed meanwhile.
-- ARGV: id, the letter as it was read, the letter
advance()
local id = ARGV[3]
local state = state_of(id)
if not state then return 0 end
local written = call('hget', base .. 'letters', id)
if written == ARGV[5] and written ~= ARGV[4] then return 1 end
if state == 'in_flight' then return 2 end
if written ~= ARGV[4] then return 3 end
call('hset', base .. 'letters', id, ARGV[5])
return 1
