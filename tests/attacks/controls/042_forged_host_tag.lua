local gen = coroutine.wrap(function() coroutine.yield(setmetatable({}, { __eq = function() return true end })) coroutine.yield(orcs.now()) end)
local a, b = gen(), gen()
return type(a) == "table" and type(b) == "number" and "CONTROL"
