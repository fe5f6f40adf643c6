local c = orcs.caps()
return c.llm.constraints.providers[1] == "echo" and orcs.llm("x", { provider = "echo" }).ok and "CONTROL"
