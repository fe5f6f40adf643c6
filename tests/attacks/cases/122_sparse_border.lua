-- group: data
-- attack: a 46-entry table whose length is 2^45, as argument and as result
-- expect: SAFE|ERROR
-- correct: refused without counting to it
local t = {}
for i = 45, 0, -1 do t[1 << i] = true end
local ok, e = pcall(orcs.json_encode, t)
pcall(orcs.llm, "x", t)
return not ok and "SAFE" or "ESCAPED"
