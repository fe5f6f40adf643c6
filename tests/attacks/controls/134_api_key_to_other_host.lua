return orcs.llm("x").ok and orcs.llm_ping().ok and "CONTROL"
