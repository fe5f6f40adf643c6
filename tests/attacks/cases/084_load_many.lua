-- group: cpu
-- attack: compile 64 kB again and again
-- expect: KILLED
-- correct: each load is bounded, the hook runs between
local s = "return a " .. ("or a "):rep(12000)
while true do pcall(load, s) end
