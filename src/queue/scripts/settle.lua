-- Ends leases, each for the holder of its token alone: `done` forgets the letter, `back` gives it back,
-- due at some time, `dead` gives it up. A letter of '' stays as it is written. The worker lives, so
-- earlier deaths say nothing about the letter.
-- ARGV: release, then for each: id, token, verdict, letter, due at, created at, class, source, group,
-- request, error
local settled = {}
for at = 4, #ARGV, 11 do
  local id, verdict, letter = ARGV[at], ARGV[at + 2], ARGV[at + 3]
  local is_ours = call('hget', base .. 'leases', id) == ARGV[at + 1]
  if is_ours then
    leave(id)
    call('hdel', base .. 'deaths', id)
    local face = face_of(id)
    if verdict == 'done' then
      unindex(id, face)
      call('hdel', base .. 'letters', id)
    else
      if letter ~= '' then
        unindex(id, face)
        face = { tonumber(ARGV[at + 5]), face[2], ARGV[at + 6], ARGV[at + 7], ARGV[at + 8], ARGV[at + 9] }
        index(id, face)
        see_group(face, ARGV[at + 10], ARGV[3])
        call('hset', base .. 'letters', id, letter)
        call('hset', base .. 'last', 'error', ARGV[at + 10], 'class', face[3], 'source', face[4], 'at', now)
      end
      if verdict == 'dead' then die(id, face[1], face[5]) else wait(id, face[1], tonumber(ARGV[at + 4])) end
    end
  end
  settled[#settled + 1] = is_ours and 1 or 0
end
return settled
