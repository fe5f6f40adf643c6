local c = orcs.caps()
return c.llm and not c.exec and "CONTROL"
