-- Moves entries of a predecessor's list here, each in one step with its removal there. One that is no
-- longer there was moved by somebody else. Where a letter with its id is here already, an entry that is
-- the same thing goes all the same; any other stays, to come back under another id.
-- ARGV: the list, release, then for each: the entry, id, letter, due at, place, created at, class, source,
-- group, request, error
local list, release, moved = ARGV[3], ARGV[4], 0
for at = 5, #ARGV, 11 do
  local entry, id, is_dead = ARGV[at], ARGV[at + 1], ARGV[at + 4] == 'd'
  local is_known = call('hexists', base .. 'letters', id) == 1
  if not (is_known and is_dead) and call('lpos', list, entry, 'rank', -1) then
    if not is_known then
      local number = call('incr', base .. 'number')
      local face = { tonumber(ARGV[at + 5]), number, ARGV[at + 6], ARGV[at + 7], ARGV[at + 8], ARGV[at + 9] }
      index(id, face)
      see_group(face, ARGV[at + 10], release)
      call('hset', base .. 'letters', id, ARGV[at + 2])
      if is_dead then die(id, face[1], face[5]) else wait(id, face[1], tonumber(ARGV[at + 3])) end
    end
    call('lrem', list, -1, entry)
    moved = moved + 1
  end
end
return moved
