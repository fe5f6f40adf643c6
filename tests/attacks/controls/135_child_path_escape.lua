return orcs.spawn_child({ id = "p", path = "good.lua" }).ok and "CONTROL"
