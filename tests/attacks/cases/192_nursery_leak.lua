-- group: concurrency
-- attack: a nursery kept beyond its end, and spawned into: later, from a close variable, from what it ended
-- expect: SAFE
-- correct: a nursery that has ended takes nothing; nothing of it runs after it
local kept, leaked
local function leak() leaked = true orcs.sleep(0) end
orcs.nursery(function(n) kept = n end)
pcall(kept.spawn, leak)
pcall(orcs.nursery, function(n)
  kept = n
  n:spawn(function()
    local x <close> = setmetatable({}, { __close = function() pcall(n.spawn, n, leak) pcall(orcs.spawn, leak) end })
    orcs.sleep(10)
  end)
  orcs.now()
  error("end")
end)
pcall(kept.spawn, leak)
pcall(orcs.spawn, leak)
local _, e = pcall(tostring, setmetatable({}, { __tostring = function() coroutine.wrap(function() orcs.nursery(function(n) kept = n leak() end) end)() end }))
pcall(kept.spawn, leak)
orcs.sleep(0.01)
return leaked and "ESCAPED" or "SAFE"
