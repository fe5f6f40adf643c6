local mt = { __concat = function() return "joined" end, __len = function() return 3 end, __lt = function() return true end }
local a = setmetatable({}, mt)
return a .. a == "joined" and #a == 3 and a < a and "CONTROL"
