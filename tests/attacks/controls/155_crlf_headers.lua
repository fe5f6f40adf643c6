return orcs.llm("a\r\nb").ok and "CONTROL"
