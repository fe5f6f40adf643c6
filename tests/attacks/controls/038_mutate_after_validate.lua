local r = orcs.llm("hi", { provider = "echo", temperature = 0.5 })
return r.ok and r.content == "You said: hi" and "CONTROL"
