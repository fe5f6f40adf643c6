return orcs.llm("hi", { provider = "echo" }).ok and "CONTROL"
