-- What scripts that look through a queue share, behind the prelude.

-- By bytes, as Redis itself sorts: what Lua thinks of two texts depends on the server's language.
local function is_before(one, other)
  for at = 1, math.min(#one, #other) do
    local a, b = string.byte(one, at), string.byte(other, at)
    if a ~= b then return a < b end
  end
  return #one < #other
end

-- The rank of the first member of a sorted set behind a score and a member, which may be gone.
local function rank_behind(name, score, member)
  local low = call('zcount', name, '-inf', '(' .. score)
  local high = call('zcount', name, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if is_before(member, call('zrange', name, middle, middle)[1]) then high = middle else low = middle + 1 end
  end
  return low
end

-- What is shown of a letter.
local function row(id, face)
  local state, at = state_of(id)
  if state == 'scheduled' and at <= now then state, at = 'ready', nil end
  return {
    { id, state, at or false, call('hget', base .. 'letters', id) or '', deaths_of(id) },
    { face[1], face[3], face[4], face[5], face[6] },
  }
end
