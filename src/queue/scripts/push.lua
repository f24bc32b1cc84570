-- Adds a letter, unless one with its id is here already, in whatever state.
-- One that is here and differs in its body's digest is marked as changed. With the mode `replace` it
-- gives way to the new one, unless it says `stored_event` already; with `rebuild` also one in the bin
-- stays where it is; with `dead` the new one is among the dead from the beginning.
-- ARGV: id, letter, due at, digest of the body, mode, version, created at, class, source, group,
-- request, error, release
local id, letter, due, digest, mode = ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local created, error_text, release = tonumber(ARGV[9]), ARGV[14], ARGV[15]
local known = call('hget', base .. 'letters', id)

local function found_by(number)
  local face = { created, number, ARGV[10], ARGV[11], ARGV[12], ARGV[13] }
  index(id, face)
  see_group(face, error_text, release)
end

if not known then
  if mode == 'rebuild' and call('hexists', base .. 'bin', id) == 1 then return 2 end
  found_by(call('incr', base .. 'number'))
  call('hset', base .. 'letters', id, letter)
  call('hset', base .. 'last', 'error', error_text, 'class', ARGV[10], 'source', ARGV[11], 'at', now)
  if mode == 'dead' then die(id, created, ARGV[12]) else wait(id, created, due) end
  return 1
end
local is_read, read = pcall(cjson.decode, known)
if not is_read or type(read) ~= 'table' then read = {} end
local is_newer = type(read.v) == 'number' and read.v > tonumber(ARGV[8])
local payload = type(read.payload) == 'table' and read.payload or {}
local is_replaced = mode == 'replace' and payload.kind ~= 'stored_event' and not is_newer
local differs = type(read.body_sha256) == 'string' and read.body_sha256 ~= digest and not is_newer
local written = is_replaced and letter or known
if (is_replaced or read.is_changed ~= true) and (differs or read.is_changed == true) then
  -- Numbers would not survive being read and written again.
  written = string.sub(written, 1, -2) .. ',"is_changed":true}'
end
-- Also as it was: a confirmation of this write covers the first one too.
call('hset', base .. 'letters', id, written)
if written == known then return 0 end
-- Whoever has it in hand settles what it was: it comes back for what it is now.
local face = face_of(id)
if is_replaced then
  leave(id)
  call('hdel', base .. 'deaths', id)
  unindex(id, face)
  found_by(face[2])
  wait(id, created, due)
elseif state_of(id) == 'in_flight' then
  leave(id)
  wait(id, face[1], due)
end
return 0
