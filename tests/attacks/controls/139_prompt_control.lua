return orcs.llm("caf\u{e9}\n\tx", { session_id = "s-1" }).ok and "CONTROL"
