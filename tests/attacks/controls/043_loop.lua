local n = 0
while n < 1e5 do n = n + 1 end
return "CONTROL"
