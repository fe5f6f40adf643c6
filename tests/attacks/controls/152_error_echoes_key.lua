local r = orcs.llm("x", { model = "no-such" })
return type(r.ok) == "boolean" and orcs.llm("x").ok and "CONTROL"
