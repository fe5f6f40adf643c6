local got = {}
local r = orcs.llm("one two three", { on_delta = function(t) got[#got + 1] = t end })
return r.ok and table.concat(got) == r.content and "CONTROL"
