return orcs.llm("hi", { provider = "echo", model = "vendor/model-1.5:free" }).ok and "CONTROL"
