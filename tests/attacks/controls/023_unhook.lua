local n = 0
for i = 1, 1e5 do n = n + 1 end
return n == 1e5 and "CONTROL"
