-- group: cpu
-- attack: an on_delta that loops, errors, yields, calls the host and starts further streams
-- expect: KILLED|ERROR
-- correct: all of it under the script's own limits
pcall(orcs.llm, "one two three", { on_delta = function() error({}) end })
pcall(orcs.llm, "one two three", { on_delta = function() coroutine.yield(1) end })
coroutine.wrap(function() orcs.llm("one two three", { on_delta = function(t) coroutine.yield(t) end }) end)()
orcs.llm("one two three", { on_delta = function() return orcs.llm("four five", { on_delta = function() return false end }).ok end })
orcs.llm("one two three", { on_delta = function() while true do end end })
