-- group: cpu
-- attack: t.__call = t: C shifts the arguments once more at every turn, without a hook
-- expect: KILLED|ERROR
-- correct: process kill
local t = setmetatable({}, {})
getmetatable(t).__call = t
t()
