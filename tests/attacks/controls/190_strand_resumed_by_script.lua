local co = coroutine.create(function() coroutine.yield(orcs.now()) return "end" end)
local r = orcs.all{ function() return select(2, coroutine.resume(co)) end }
return type(r[1]) == "number" and select(2, coroutine.resume(co)) == "end" and "CONTROL"
