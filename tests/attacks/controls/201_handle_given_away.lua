orcs.spawn_child { id = "victim", script = "return { run = function() return 'reached' end }", caps = "inherit" }
return orcs.send_to_child("victim", 1).result == "reached" and "CONTROL"
