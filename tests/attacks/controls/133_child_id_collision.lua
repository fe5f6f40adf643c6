local a, b = orcs.llm("x", { session_id = "a" }), orcs.llm("x", { session_id = "b" })
return a.ok and b.ok and a.session_id ~= b.session_id and "CONTROL"
