-- group: cpu
-- attack: a comparator that lies, yields and errors
-- expect: KILLED|ERROR|SAFE
-- correct: sort is Lua
local t = {}
for i = 1, 3000 do t[i] = i % 7 end
for i = 1, 50 do pcall(table.sort, t, function(a, b) return math.random() < 0.5 end) end
local co = coroutine.wrap(function() table.sort(t, function(a, b) coroutine.yield() return true end) end)
for i = 1, 1000 do pcall(co) end
while true do pcall(table.sort, t, function() error("x") end) end
