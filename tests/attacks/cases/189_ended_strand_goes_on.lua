-- group: concurrency
-- attack: a strand that lost a race tries to go on: pcall around its wait, loops, coroutines, an iterator, a retry in close
-- expect: SAFE
-- correct: its coroutines are closed where they wait; no line after the wait runs
local ran = {}
local function loser(name, wait)
  return function()
    while true do
      local ok = pcall(wait)
      ran[#ran + 1] = name .. tostring(ok)
    end
  end
end
local function forever() orcs.sleep(30) end
local function below() coroutine.wrap(function() while true do pcall(forever) ran[#ran + 1] = "below" end end)() end
local function iterated() for _ in function() pcall(forever) ran[#ran + 1] = "iterated" return true end do end end
local function guarded()
  local x <close> = setmetatable({}, { __close = function() pcall(forever) pcall(orcs.all, { forever }) pcall(coroutine.yield) end })
  forever()
end
orcs.race{
  loser("plain", forever), loser("below", below), loser("iterated", iterated), loser("guarded", guarded),
  loser("nested", function() orcs.all{ forever, forever } end), loser("timeout", function() orcs.timeout(30, forever) end),
  function() orcs.sleep(0.01) end,
}
orcs.sleep(0.02)
return #ran == 0 and "SAFE" or "ESCAPED: " .. table.concat(ran, " ")
