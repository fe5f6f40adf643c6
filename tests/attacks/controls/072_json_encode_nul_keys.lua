local t = {}
for i = 1, 100 do t["key" .. i] = i end
return orcs.json_parse(orcs.json_encode(t)).key7 == 7 and "CONTROL"
