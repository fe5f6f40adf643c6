local t = {}
for i = 1, 46 do t[i] = true end
return #t == 46 and orcs.json_encode(t):sub(1, 5) == "[true" and "CONTROL"
