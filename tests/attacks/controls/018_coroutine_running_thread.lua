local co = coroutine.create(function() coroutine.yield(1) end)
local ok, v = coroutine.resume(co)
return ok and v == 1 and coroutine.close(co) and "CONTROL"
