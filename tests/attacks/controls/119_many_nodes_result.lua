local t = {}
for i = 1, 10000 do t[i] = false end
return #orcs.json_encode(t) == 60001 and "CONTROL"
