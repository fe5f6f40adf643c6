-- group: cpu
-- attack: coroutine.close runs a __close that never ends
-- expect: KILLED
-- correct: the hook runs in closed coroutines
local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function() while true do end end }) coroutine.yield() end)
coroutine.resume(co)
while true do pcall(coroutine.close, co) end
