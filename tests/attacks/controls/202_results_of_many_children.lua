orcs.spawn_child { id = "c", script = "return { run = function(n) return ('x'):rep(n) end }" }
return #orcs.send_to_children_batch({ "c" }, { 1000 })[1].result == 1000 and "CONTROL"
