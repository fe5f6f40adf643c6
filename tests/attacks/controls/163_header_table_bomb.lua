return orcs.llm("x", { max_tokens = 5 }).ok and "CONTROL"
