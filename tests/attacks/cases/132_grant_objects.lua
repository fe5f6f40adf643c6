-- group: capability
-- attack: change what caps() and can() return, and ask them for more
-- expect: SAFE
-- correct: they are copies
local c = orcs.caps()
c.llm.constraints.providers = { "openai" } c.llm.remaining = { calls = 1e9 } c.exec = {}
local yes = orcs.can("exec") or orcs.can("http") or orcs.can("llm", { provider = "openai" })
local r = orcs.llm("x", { provider = "openai" })
return (yes or r.ok or orcs.caps().exec) and "ESCAPED" or "SAFE"
