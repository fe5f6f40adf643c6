-- group: crash
-- attack: change __mode and metatables of weak tables while the collector runs
-- expect: SAFE|ERROR|KILLED
-- correct: no corruption
local T = {}
for j = 1, 2000 do T[j] = setmetatable({}, { __mode = "kv", tag = j }) end
for round = 1, 10 do
  for j = 1, 2000 do
    local m = { __mode = ({ "k", "v", "kv", "" })[(j + round) % 4 + 1], tag = j + round }
    setmetatable(T[j], nil) setmetatable(T[j], m) T[j][{}] = {} T[j][j] = { round }
  end
  for i = 1, 20000 do local x = { i } end
  for j = 1, 2000 do if getmetatable(T[j]).tag ~= j + round then return "ESCAPED: use after free" end end
end
return "SAFE"
