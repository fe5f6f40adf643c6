-- group: memory
-- attack: run out of memory, and again in each __close and handler
-- expect: ERROR|KILLED
-- correct: fatal
local t = {}
local function fill() for i = 1, 1e9 do t[#t + 1] = ("x"):rep(100) .. i end end
while true do
  xpcall(function() local c <close> = setmetatable({}, { __close = fill }) fill() end, fill)
  coroutine.wrap(function() local c <close> = setmetatable({}, { __close = fill }) fill() end)()
end
