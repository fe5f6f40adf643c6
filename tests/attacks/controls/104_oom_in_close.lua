local n = 0
pcall(function() local c <close> = setmetatable({}, { __close = function() n = n + 1 end }) error("x") end)
return n == 1 and "CONTROL"
