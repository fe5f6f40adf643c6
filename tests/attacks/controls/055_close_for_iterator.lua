local closed
local c = setmetatable({}, { __close = function() closed = true end })
for i in function() return 1 end, nil, nil, c do break end
return closed and "CONTROL"
