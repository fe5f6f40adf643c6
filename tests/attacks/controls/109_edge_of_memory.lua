return orcs.llm("hello").ok and orcs.now() > 0 and orcs.caps().llm and orcs.json_parse("[1]")[1] == 1 and "CONTROL"
