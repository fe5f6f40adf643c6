local n, mt = 0, {}
mt.__close = function() n = n + 1 end
local function deep(k) local x <close> = setmetatable({}, mt) if k > 0 then deep(k - 1) end end
deep(1500)
return n == 1501 and "CONTROL"
