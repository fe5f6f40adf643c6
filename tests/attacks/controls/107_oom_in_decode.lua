return orcs.llm(("word "):rep(30)).ok and orcs.llm_dump_sessions():find("word", 1, true) and "CONTROL"
