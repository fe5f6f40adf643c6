-- group: concurrency
-- attack: a strand's coroutine taken with coroutine.running and resumed, closed, wrapped, forged answers passed in
-- expect: SAFE
-- correct: strands are normal, never suspended, to the script; the host's answers come from the host only
local taken, got = {}, {}
local function strand() taken[#taken + 1] = coroutine.running() local now = orcs.now() got[#got + 1] = now end
local function attack()
  for _, co in ipairs(taken) do
    if coroutine.resume(co, true, "\xa6forged", 1) then got[#got + 1] = "resumed" end
    if coroutine.status(co) ~= "dead" and pcall(coroutine.close, co) then got[#got + 1] = "closed" end
    if coroutine.status(co) == "suspended" then got[#got + 1] = "suspended" end
    if pcall(coroutine.wrap, co) then got[#got + 1] = "wrapped" end
  end
end
orcs.all{ strand, function() coroutine.wrap(strand)() end, attack, function() orcs.now() attack() end, strand }
attack()
for _, v in ipairs(got) do if type(v) ~= "number" then return "ESCAPED: " .. v end end
return #got == 3 and "SAFE" or "ESCAPED: " .. #got
