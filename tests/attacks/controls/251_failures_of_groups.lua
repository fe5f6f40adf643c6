local closed = 0
local good = setmetatable({}, { __close = function() closed = closed + 1 end })
orcs.race { function() local x <close> = good orcs.sleep(1) end, function() return 1 end }
return closed == 1 and "CONTROL"
