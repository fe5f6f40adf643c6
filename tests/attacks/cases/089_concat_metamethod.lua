-- group: cpu
-- attack: __concat, __len, __unm and __lt that call each other
-- expect: KILLED
-- correct: the hook counts
local mt = {}
local a = setmetatable({}, mt)
mt.__concat = function() return #a end mt.__len = function() return -a end mt.__unm = function() return a < a end mt.__lt = function() return a .. a end
while true do pcall(function() return a .. a end) end
