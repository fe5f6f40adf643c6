local x = 0
for i = 1, 1e5 do x = x + i end
return ("a" < "b") and "CONTROL"
