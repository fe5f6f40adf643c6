-- group: data
-- attack: return tables with every metamethod: the host must run none of them
-- expect: SAFE|ERROR
-- correct: raw access only
local m = function() error("a metamethod ran") end
return setmetatable({ a = setmetatable({ 1, 2 }, { __index = m, __len = m, __pairs = m, __eq = m }) }, { __index = m, __len = m, __pairs = m, __call = m, __tostring = m, __eq = m, __close = m })
