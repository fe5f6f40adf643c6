-- group: cpu
-- attack: 15000 to-be-closed variables, each of which loops
-- expect: KILLED
-- correct: one kill ends them all
local mt = { __close = function() while true do end end }
local function deep(n) local x <close> = setmetatable({}, mt) if n > 0 then deep(n - 1) else while true do end end end
deep(15000)
