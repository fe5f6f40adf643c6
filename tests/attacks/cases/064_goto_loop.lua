-- group: cpu
-- attack: a loop of goto only, then one of tail calls
-- expect: KILLED
-- correct: the hook counts
local n = 0
local function tail() n = n + 1 if n < 1e6 then return tail() end end
pcall(tail)
::again:: goto again
