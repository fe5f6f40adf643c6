-- group: data
-- attack: change orcs.null or the list mark with every function that writes
-- expect: SAFE
-- correct: both are constants
local n = orcs.null
for _, f in ipairs{ function() n.x = 1 end, function() rawset(n, 1, 1) end, function() table.insert(n, 1) end, function() table.move({ 1, 2 }, 1, 2, 1, n) end,
  function() setmetatable(n, {}) end, function() table.sort(n) n[1] = 2 end, function() table.remove(n) end, function() orcs.array(n) end } do pcall(f) end
if next(n) ~= nil or #n ~= 0 or tostring(n) ~= "null" or orcs.json_encode(n) ~= "null" then return "ESCAPED: null changed" end
if orcs.json_encode(orcs.array{}) ~= "[]" or orcs.json_encode{} ~= "{}" then return "ESCAPED: lists changed" end
return "SAFE"
