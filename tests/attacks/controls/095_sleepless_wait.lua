orcs.sleep(0.01)
return orcs.llm("x", { timeout = 5, overall_timeout = 10 }).ok and "CONTROL"
