local co = coroutine.create(function() return orcs.json_encode{ 1 }, orcs.llm("x").ok end)
local _, text, ok = coroutine.resume(co)
return text == "[1]" and ok and "CONTROL"
