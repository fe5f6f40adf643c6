local n = 0
for w in ("one two three"):gmatch("%a+") do n = n + 1 end
return n == 3 and "CONTROL"
