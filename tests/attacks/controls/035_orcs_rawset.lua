local mine = {}
rawset(mine, "llm", function() return "mine" end)
return mine.llm() == "mine" and orcs.llm("x").ok and "CONTROL"
