-- group: data
-- attack: thousands of host calls in a row, from every kind of coroutine
-- expect: SAFE|KILLED
-- correct: each is metered; the host's loop stays free
for i = 1, 150 do orcs.now() coroutine.wrap(function() orcs.caps() coroutine.yield() end)() for _ in coroutine.wrap(function() orcs.can("llm") end) do end end
return "SAFE"
