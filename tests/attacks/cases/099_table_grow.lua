-- group: memory
-- attack: grow one array until the heap is full
-- expect: ERROR|KILLED
-- correct: memory limit
local t = {} for i = 1, 1e12 do t[i] = i end
