-- Looks through letters, oldest first, behind a place, and tells those that match: as rows, as ids with
-- their times, or how many. It looks at so many at most, and tells where it stopped unless it is over.
-- ARGV: `letters`, `ids` or `count`, how many to tell, how many to look at, behind which time (or '')
-- and id, states (`1` or `0` each: ready, scheduled, in flight, dead), class, source, group, request
-- ('' for any), created before, number at most ('' for any)
local what, limit, looks = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local after, after_id, states = ARGV[6], ARGV[7], ARGV[8]
local class, source, group, request = ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local before, mark = tonumber(ARGV[13]), tonumber(ARGV[14])
advance()
-- A mark that nobody has passed excludes nobody.
if mark and mark >= tonumber(call('get', base .. 'number') or '0') then mark = nil end

local wanted, indexes, size = {}, {}, 0
for at, state in ipairs({ 'ready', 'scheduled', 'in_flight', 'dead' }) do
  if string.sub(states, at, at) == '1' then
    wanted[state] = true
    indexes[#indexes + 1] = base .. state
    size = size + call('zcard', base .. state)
  end
end
-- What is scheduled and due is ready, although nobody has moved it yet.
if wanted.ready and not wanted.scheduled then
  indexes[#indexes + 1] = base .. 'scheduled'
  local due = call('zcount', base .. 'due', '-inf', now)
  if due == 0 then indexes[#indexes] = nil else size = size + call('zcard', base .. 'scheduled') end
end
local is_any_state, faces = states == '1111', 0
for name, value in pairs({ ['class:'] = class, ['source:'] = source, ['group:'] = group }) do
  if value ~= '' then
    faces = faces + 1
    if call('zcard', base .. name .. value) <= size then
      indexes, size = { base .. name .. value }, call('zcard', base .. name .. value)
    end
  end
end
-- One kind of index alone needs no looking.
if what == 'count' and not mark and request == '' and (faces == 0 or (faces == 1 and is_any_state))
  and (is_any_state or wanted.ready == wanted.scheduled or call('zcount', base .. 'due', '-inf', now) == 0) then
  local count = 0
  for _, name in ipairs(indexes) do
    count = count + call('zcount', name, '-inf', before and '(' .. ARGV[13] or '+inf')
  end
  return { {}, count, false }
end

-- The next of those that may match: pairs of id and time, and whether more follow.
local function of_request()
  local from = '[' .. request .. '\0'
  if after ~= '' then from = '(' .. request .. '\0' .. string.format('%015.0f', tonumber(after)) .. '\0' .. after_id end
  local members = call('zrangebylex', base .. 'requests', from, '(' .. request .. '\1', 'limit', 0, looks)
  local found = {}
  for _, member in ipairs(members) do
    local created = tonumber(string.sub(member, #request + 2, #request + 16))
    found[#found + 1] = { string.sub(member, #request + 18), created }
  end
  return found, #members == looks
end

local function merged()
  local heads, places, found = {}, {}, {}
  for at, name in ipairs(indexes) do
    local rank = after == '' and 0 or rank_behind(name, after, after_id)
    heads[at], places[at] = call('zrange', name, rank, rank + looks, 'withscores'), 1
  end
  while true do
    local best
    for at, head in ipairs(heads) do
      local place = places[at]
      if head[place] then
        local other = best and heads[best]
        local one, two = tonumber(head[place + 1]), best and tonumber(other[places[best] + 1])
        if not best or one < two or (one == two and is_before(head[place], other[places[best]])) then best = at end
      end
    end
    if not best then return found, false end
    if #found == looks then return found, true end
    found[#found + 1] = { heads[best][places[best]], tonumber(heads[best][places[best] + 1]) }
    places[best] = places[best] + 2
  end
end

local needs_face = what == 'letters' or faces > 0 or mark
local function match(id)
  if not is_any_state then
    local state, at = state_of(id)
    if state == 'scheduled' and at <= now then state = 'ready' end
    if not wanted[state] then return end
  end
  if not needs_face then return {} end
  local face = face_of(id)
  local is_it = (class == '' or face[3] == class) and (source == '' or face[4] == source)
    and (group == '' or face[5] == group) and (not mark or face[2] <= mark)
  return is_it and face
end

-- Nothing but what matches is looked at where the indexes say it all.
if what ~= 'count' and not mark and faces <= (is_any_state and 1 or 0) then looks = math.min(looks, limit) end
local found, follows
if request ~= '' then found, follows = of_request() else found, follows = merged() end
local told, count = {}, 0
for at, letter in ipairs(found) do
  local id, created = letter[1], letter[2]
  if before and created >= before then return { told, count, false } end
  local face = match(id)
  if face then
    count = count + 1
    if what == 'letters' then told[count] = row(id, face) end
    if what == 'ids' then told[count] = { id, created } end
  end
  if (what ~= 'count' and count == limit and (at < #found or follows)) or (at == #found and follows) then
    return { told, count, { created, id } }
  end
end
return { told, count, false }
