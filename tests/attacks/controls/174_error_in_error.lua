local ok, e = xpcall(error, function(e) return "handled " .. e end, "x")
return e == "handled x" and "CONTROL"
