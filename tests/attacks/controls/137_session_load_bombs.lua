orcs.llm("kept", { session_id = "s" })
local dump = orcs.llm_dump_sessions()
return orcs.llm_load_sessions(dump).ok and orcs.llm_dump_sessions() == dump and "CONTROL"
