for i = 1, 5 do orcs.spawn_child { id = "w" .. i, script = "return { run = function() local n = 0 for i = 1, 1e5 do n = n + i end return n end }" } end
for i = 1, 5 do assert(orcs.send_to_child("w" .. i, {}).ok) end
return "CONTROL"
