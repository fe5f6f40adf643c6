local e = setmetatable({}, { __tostring = function() return "text" end })
local ok, got = pcall(orcs.all, { function() error(e) end })
return not ok and tostring(got) == "text" and "CONTROL"
