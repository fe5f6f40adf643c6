local co = coroutine.wrap(function() coroutine.yield({ op = "exec" }, "hostcall", 1) end)
return co().op == "exec" and "CONTROL"
