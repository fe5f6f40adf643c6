local r = orcs.llm(("x"):rep(1000000))
return r.ok and "CONTROL"
