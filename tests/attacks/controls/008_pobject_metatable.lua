local t = setmetatable({}, { __index = { x = 1 } })
return getmetatable(t).__index.x == 1 and t.x == 1 and "CONTROL"
