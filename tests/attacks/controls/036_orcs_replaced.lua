local genuine = orcs
orcs = { llm = function(...) return genuine.llm(...) end }
return orcs.llm("x").ok and "CONTROL"
