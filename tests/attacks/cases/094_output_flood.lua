-- group: memory
-- attack: as many output calls as possible, empty ones and tiny ones
-- expect: KILLED|SAFE
-- correct: empty lines count too: the host is not flooded
for i = 1, 3e6 do orcs.log("info", "") orcs.log("debug", "x") end
return "SAFE"
