return orcs.llm_ping().ok and orcs.llm("hi").ok and "CONTROL"
