local r = orcs.llm("mine", { session_id = "my-session" })
return r.ok and orcs.llm_dump_sessions():find("mine", 1, true) and "CONTROL"
