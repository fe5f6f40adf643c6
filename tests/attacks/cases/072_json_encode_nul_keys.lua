-- group: cpu
-- attack: sort long keys of NULs inside json_encode: one comparison costs milliseconds
-- expect: KILLED|SAFE|ERROR
-- correct: interruptible sort, or a process kill
local t, base = {}, ("\0"):rep(200000)
for i = 1, 35 do t[base .. i] = i end
for i = 1, 50 do pcall(orcs.json_encode, t) end
return "SAFE"
