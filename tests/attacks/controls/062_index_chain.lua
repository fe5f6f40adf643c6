local t = { found = 1 }
for i = 1, 500 do t = setmetatable({}, { __index = t }) end
return t.found == 1 and "CONTROL"
