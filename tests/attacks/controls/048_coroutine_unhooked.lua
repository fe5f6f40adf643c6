local n = 0
coroutine.wrap(function() for i = 1, 1e5 do n = n + 1 end end)()
return n == 1e5 and "CONTROL"
