local n = 0
for _ in string.gmatch(("a"):rep(30), "a?a?") do n = n + 1 end
return n > 0 and "CONTROL"
