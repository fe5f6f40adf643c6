-- group: cpu
-- attack: comparisons of long NUL strings: one VM instruction costs 50 ms
-- expect: KILLED
-- correct: process kill
local a, b = ("\0"):rep(10000000) .. "x", ("\0"):rep(10000000) .. "y"
while true do local x = a < b or a <= b or a > b or a >= b end
