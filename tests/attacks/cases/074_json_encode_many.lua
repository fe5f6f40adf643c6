-- group: cpu
-- attack: encode again and again what is just below the limit
-- expect: KILLED
-- correct: the encoder runs under the hook
local row = {}
for i = 1, 1000 do row[i] = "\\\"\n\1" .. i end
local t = {}
for i = 1, 300 do t[i] = row end
while true do pcall(orcs.json_encode, t) end
