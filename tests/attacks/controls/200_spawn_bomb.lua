local c = orcs.spawn_child { id = "first", script = "return { run = function() return 1 end }", caps = "inherit" }
return c:run().result == 1 and "CONTROL"
