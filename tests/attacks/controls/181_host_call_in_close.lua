local now = orcs.now()
local t = setmetatable({}, { __tostring = function() return "at " .. now end, __index = function() return orcs.now() end })
return t.x >= now and tostring(t):find("^at ") and "CONTROL"
