local closed
local w = coroutine.wrap(function() local x <close> = setmetatable({}, { __close = function() closed = true end }) error("x") end)
return not pcall(w) and closed and "CONTROL"
