local pieces = 0
local function stream(id) return orcs.llm("one two three", { session_id = id, on_delta = function() orcs.now() pieces = pieces + 1 end }).ok end
local r = orcs.map({ "a", "b" }, stream)
return r[1] and r[2] and pieces >= 2 and "CONTROL"
