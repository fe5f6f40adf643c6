-- group: crash
-- attack: recursion without end through every door: calls, pcall, gsub, metamethods, coroutines, load, require, sort
-- expect: ERROR|KILLED|SAFE
-- correct: stack overflow is an error
local fs = {}
fs[1] = function() return 1 + fs[1]() end
fs[2] = function() return pcall(fs[2]) end
fs[3] = function() return ("a"):gsub("a", fs[3]) end
fs[4] = function() return tostring(setmetatable({}, { __tostring = fs[4] })) end
fs[5] = function() return coroutine.wrap(fs[5])() end
fs[6] = function() return select(2, xpcall(error, fs[6])) end
fs[7] = function() table.sort({ 1, 2, 3 }, fs[7]) end
fs[8] = function() return load(fs[8]) end
for i = 2, #fs do pcall(fs[i]) end
return "SAFE"
