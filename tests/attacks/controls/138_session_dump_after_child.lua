orcs.llm("MY-OWN", { session_id = "k" })
return orcs.llm_dump_sessions():find("MY-OWN", 1, true) and "CONTROL"
