local t = setmetatable({}, { __index = function() return 1 end })
for i = 1, 1e5 do t = { t.x } setmetatable(t, { __index = function() return 1 end }) end
return "CONTROL"
