local out = coroutine.wrap(function() return (("abc"):gsub("%a", function(c) return coroutine.yield(c) end)) end)
return out() == "a" and out("1") == "b" and out("2") == "c" and out("3") == "123" and "CONTROL"
