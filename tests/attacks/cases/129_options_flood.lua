-- group: data
-- attack: 100000 options, huge option names and values
-- expect: SAFE|ERROR|KILLED
-- correct: refused as invalid options
local o = {}
for i = 1, 100000 do o["option" .. i] = i end
local r = orcs.llm("x", o)
local r2 = orcs.llm("x", { [("n"):rep(100000)] = 1 })
local r3 = orcs.llm("x", { model = ("m"):rep(1000000) })
return (r.ok or r2.ok or #r2.error > 3000) and "ESCAPED: taken" or "SAFE"
