for i = 1, 5 do assert(orcs.llm("work " .. i).ok) end
return "CONTROL"
