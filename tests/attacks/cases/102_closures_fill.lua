-- group: memory
-- attack: fill memory with closures and upvalues, errors caught
-- expect: ERROR|KILLED
-- correct: out of memory cannot be caught
local all = {}
while true do pcall(function() for i = 1, 1e9 do local a, b = i, {} all[#all + 1] = function() return a, b end end end) end
