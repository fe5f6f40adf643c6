local closed = 0
local function strand() local x <close> = setmetatable({}, { __close = function() closed = closed + 1 end }) orcs.sleep(100) end
orcs.timeout(0.01, function() orcs.all{ strand, strand, strand } end)
return closed == 3 and "CONTROL"
