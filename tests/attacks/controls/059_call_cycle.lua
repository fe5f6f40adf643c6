local t = setmetatable({}, { __call = function(self, x) return x + 1 end })
return t(41) == 42 and "CONTROL"
