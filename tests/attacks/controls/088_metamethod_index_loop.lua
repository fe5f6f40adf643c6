local t = setmetatable({}, { __index = function(t, k) return k > 50 and k or t[k + 1] end })
return t[1] == 51 and "CONTROL"
