return orcs.llm("x", { temperature = 1 }).ok and "CONTROL"
