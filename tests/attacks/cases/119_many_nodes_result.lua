-- group: data
-- attack: return a million empty tables
-- expect: SAFE|ERROR|KILLED
-- correct: nodes are counted
local t = {}
for i = 1, 999000 do t[i] = false end
return t
