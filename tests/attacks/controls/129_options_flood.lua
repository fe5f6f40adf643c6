local r = orcs.llm("x", { temprature = 1 })
return not r.ok and r.error_kind == "invalid_options" and r.detail.field == "temprature" and "CONTROL"
