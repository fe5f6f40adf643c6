local t = setmetatable({}, { __tostring = function() return "t" end })
return tostring(t) == "t" and getmetatable(t) ~= nil and "CONTROL"
