for i = 1, 5 do assert(orcs.llm_ping().ok) end
return "CONTROL"
