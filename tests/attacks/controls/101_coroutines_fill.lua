local t = {}
for i = 1, 1000 do t[i] = coroutine.create(function() return i end) end
return select(2, coroutine.resume(t[7])) == 7 and "CONTROL"
