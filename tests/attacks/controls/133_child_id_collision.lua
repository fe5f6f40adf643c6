local a, b = orcs.spawn_child { id = "a", script = "return 1" }, orcs.spawn_child { id = "b.2-x_Y", script = "return 2" }
return a.ok and b.ok and #orcs.children() == 2 and "CONTROL"
