-- group: concurrency
-- attack: the close variables of ended strands never end, in Lua, in a coroutine, in each of a hundred strands
-- expect: KILLED
-- correct: a tenth of a second of CPU for all of them together, then the VM is ended
local function endless() while true do pcall(function() coroutine.wrap(function() while true do end end)() end) end end
local function strand() local x <close> = setmetatable({}, { __close = endless }) orcs.sleep(100) end
local many = {}
for i = 1, 100 do many[i] = strand end
orcs.timeout(0.01, function() orcs.all(many) end)
return "SAFE"
