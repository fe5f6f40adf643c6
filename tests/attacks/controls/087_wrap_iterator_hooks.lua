local n = 0
for i in coroutine.wrap(function() for j = 1, 500 do coroutine.yield(j) end end) do n = n + i end
return n == 125250 and "CONTROL"
