-- group: cpu
-- attack: 2000 tables behind each other in __index, looked up in a loop
-- expect: KILLED
-- correct: the hook counts
local t = {}
for i = 1, 1990 do t = setmetatable({}, { __index = t }) end
while true do local x = t.missing end
