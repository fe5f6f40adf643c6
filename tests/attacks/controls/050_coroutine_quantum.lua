local n = 0
for i = 1, 1000 do coroutine.wrap(function() for j = 1, 10 do n = n + 1 end end)() end
return n == 10000 and "CONTROL"
