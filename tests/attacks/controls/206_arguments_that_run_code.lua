local seen = false
local t = setmetatable({ a = 1 }, { __index = function() seen = true end })
return orcs.json_encode(t) == '{"a":1}' and not seen and t.b == nil and seen and "CONTROL"
