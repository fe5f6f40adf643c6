-- group: cpu
-- attack: an ephemeron chain that the collector walks again and again
-- expect: KILLED|SAFE
-- correct: process kill
local e, keys = setmetatable({}, { __mode = "k" }), {}
for i = 1, 60000 do keys[i] = {} end
for i = 60000, 2, -1 do local j = math.random(i) keys[i], keys[j] = keys[j], keys[i] end
for i = 1, 59999 do e[keys[i]] = keys[i + 1] end
local first = keys[1] keys = nil
for i = 1, 1e9 do local t = { i } end
return "SAFE"
