local _, e = xpcall(function() error("a", 0) end, function(e) return e .. "b" end)
return e == "ab" and "CONTROL"
