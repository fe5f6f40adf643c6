local n = 0
for i = 1, 20 do n = n + (coroutine.wrap(orcs.now)() > 0 and 1 or 0) end
return n == 20 and "CONTROL"
