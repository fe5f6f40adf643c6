local t = {}
for i = 1, 1e5 do t[i] = { i } end
return orcs.llm("x").ok and orcs.json_parse('{"a":"b"}').a == "b" and "CONTROL"
