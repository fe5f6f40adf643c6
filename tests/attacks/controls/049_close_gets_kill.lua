local kept
pcall(function() local x <close> = setmetatable({}, { __close = function(_, e) kept = e end }) error("mine", 0) end)
return kept == "mine" and "CONTROL"
