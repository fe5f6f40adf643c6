local closed
local co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function() closed = true end }) coroutine.yield() end)
coroutine.resume(co)
return coroutine.close(co) and closed and "CONTROL"
