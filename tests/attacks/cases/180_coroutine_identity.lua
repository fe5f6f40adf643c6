-- group: tamper
-- attack: resume, close or wrap the task's own coroutine from a child, from a callback, and from itself
-- expect: SAFE
-- correct: the host's coroutines are the host's
local main = coroutine.running()
local got = {}
local function try()
  got[#got + 1] = coroutine.resume(main, "forged") or false
  got[#got + 1] = pcall(coroutine.close, main)
  got[#got + 1] = coroutine.status(main) == "dead"
  got[#got + 1] = coroutine.isyieldable(main)
end
try()
coroutine.wrap(try)()
coroutine.wrap(function() orcs.now() coroutine.wrap(try)() end)()
orcs.llm("x", { stream = true, on_delta = function() try() end })
for i = 1, #got do if got[i] ~= false then return "ESCAPED: " .. i end end
return "SAFE"
