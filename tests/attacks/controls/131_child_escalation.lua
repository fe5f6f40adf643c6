local c = orcs.spawn_child { id = "plain", script = "return { run = function() return orcs.llm('x').ok and not orcs.can('exec') end }", caps = { llm = true } }
return c:run().result == true and "CONTROL"
