-- group: memory
-- attack: let a host answer meet a heap that is almost full
-- expect: ERROR|KILLED|SAFE
-- correct: an answer needs headroom, or the VM ends
local r = orcs.llm(("word "):rep(100000))
local t = {}
while collectgarbage("count") < 63 * 1024 do t[#t + 1] = ("y"):rep(4000) .. #t end
for i = 1, 20 do pcall(orcs.llm, ("w" .. i .. " "):rep(20000)) pcall(orcs.llm_dump_sessions) end
return "SAFE"
