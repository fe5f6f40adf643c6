-- group: cpu
-- attack: work only inside iterators of generic for, one coroutine each
-- expect: KILLED
-- correct: hooks are in every coroutine
while true do for i in coroutine.wrap(function() for j = 1, 500 do coroutine.yield(j) end end) do end end
