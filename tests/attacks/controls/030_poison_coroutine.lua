local old = coroutine
coroutine = { wrap = function() return "mine" end }
return coroutine.wrap() == "mine" and old.wrap(function() return 1 end)() == 1 and orcs.llm("x").ok and "CONTROL"
