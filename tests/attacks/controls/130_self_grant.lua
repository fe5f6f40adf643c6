return orcs.can("llm") and not orcs.can("exec") and orcs.llm("x").ok and "CONTROL"
