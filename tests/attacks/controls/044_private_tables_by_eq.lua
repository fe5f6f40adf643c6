local mt = { __eq = function() return true end }
local a, b = setmetatable({}, mt), setmetatable({}, mt)
return a == b and not rawequal(a, b) and orcs.json_encode(a) == "{}" and "CONTROL"
