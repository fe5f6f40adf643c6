-- group: concurrency
-- attack: one strand is killed for its CPU, others stand by to catch it: pcall, xpcall handlers, close variables, collect
-- expect: KILLED
-- correct: a killed VM ends all strands; nothing of the script runs after it
local function catch(f) while true do pcall(f) xpcall(f, f) end end
local function spin() local x <close> = setmetatable({}, { __close = function() catch(function() end) end }) while true do end end
pcall(orcs.all, {
  function() catch(function() orcs.sleep(0.001) end) end,
  function() catch(function() orcs.all({ spin, spin }, { collect = true }) end) end,
  function() coroutine.wrap(function() catch(spin) end)() end,
}, { collect = true })
return "ESCAPED"
