-- Shows the groups that have letters, oldest first, behind a place.
-- ARGV: behind which time (or '') and group, how many
local live, limit = base .. 'groups_live', tonumber(ARGV[5])
local rank = ARGV[3] == '' and 0 or rank_behind(live, ARGV[3], ARGV[4])
local names = call('zrange', live, rank, rank + limit)
local told = {}
for at, name in ipairs(names) do
  if at > limit then break end
  local group = group_of(name)
  told[at] = { name, group[1], group[2], group[3], group[4], group[5], group[6], call('zcard', base .. 'group:' .. name) }
end
return { told, #names > limit and 1 or 0 }
