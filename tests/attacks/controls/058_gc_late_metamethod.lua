local mt = {}
local t = setmetatable({}, mt)
mt.__index = function() return "late" end
return t.x == "late" and "CONTROL"
