-- group: concurrency
-- attack: lists for all, map and race with metamethods that loop, change the list meanwhile, or claim a huge length
-- expect: SAFE
-- correct: lists are read raw, once, before anything runs
local mt = { __index = function() while true do end end, __len = function() return 1 << 60 end, __pairs = function() while true do end end }
if #orcs.all(setmetatable({}, mt)) ~= 0 then return "ESCAPED" end
if #orcs.map(setmetatable({ 1, 2 }, mt), function(v) return v end) ~= 2 then return "ESCAPED" end
local list = {}
for i = 1, 3 do list[i] = function() list[4] = function() list = nil end list[2] = "no function" return i end end
local r = orcs.all(list)
pcall(orcs.all, list, setmetatable({}, mt))
pcall(orcs.race, setmetatable({}, mt))
pcall(orcs.map, { 1 }, function() end, setmetatable({ concurrency = 1 << 62 }, { __eq = error }))
return r[3] == 3 and "SAFE" or "ESCAPED"
