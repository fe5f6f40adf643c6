-- group: cpu
-- attack: finalizers through orcs.array: a __gc in the shared list metatable would run for every host answer
-- expect: SAFE
-- correct: the list metatable cannot be reached
local a = orcs.array{}
if getmetatable(a) ~= nil then return "ESCAPED: list metatable" end
local fired
pcall(function() getmetatable(a).__gc = function() fired = true end end)
local ok = pcall(setmetatable, a, { __gc = function() fired = true end })
for i = 1, 1e5 do local t = orcs.array{ i } end
return (fired or ok) and "ESCAPED: finalizer" or "SAFE"
