local t = setmetatable({ 1 }, { __index = rawlen, __call = rawequal, __tostring = type })
return t(t) and tostring(t) == "table" and t.x == 1 and "CONTROL"
