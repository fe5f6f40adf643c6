-- group: escape
-- attack: learn the private tag of host calls: __eq is called when the tag is compared with `==`
-- expect: SAFE
-- correct: private tables are compared raw
local seen
local bait = function() return setmetatable({}, { __eq = function(_, other) seen = other return true end }) end
pcall(coroutine.wrap(function() coroutine.yield(bait(), 1, "llm", "\xc0") end))
local co = coroutine.create(function() coroutine.yield(bait(), 1, "llm", "\xc0") end) coroutine.resume(co)
for _ in coroutine.wrap(function() coroutine.yield(bait()) end) do break end
return seen == nil and "SAFE" or "ESCAPED: a private table reached __eq"
