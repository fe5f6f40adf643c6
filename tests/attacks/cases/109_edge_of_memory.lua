-- group: memory
-- attack: every host function at limit - k of heap, for k of 0 to 128 kB
-- expect: ERROR|KILLED|SAFE
-- correct: error or data, never a dead host
local t, k, hold = {}, tonumber(ATTACK.k or 32), {}
for i = 1, 64 do hold[i] = ("h" .. i):rep(1000) end
local function used() return collectgarbage("count") end
while used() < 65536 - 400 do t[#t + 1] = ("x"):rep(8000) .. #t end
while used() < 65536 - k - 3 do t[#t + 1] = ("x"):rep(500) .. #t end
orcs.llm("hello") orcs.now() orcs.caps() orcs.json_parse('[1,{"a":2}]') orcs.json_encode{ 1, { a = 2 } } orcs.can("llm") orcs.llm_dump_sessions() orcs.log("info", "x") print("x")
return "SAFE"
