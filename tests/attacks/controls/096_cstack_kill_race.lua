local function deep(n) return (string.gsub("a", "a", function() return n > 0 and deep(n - 1) or "b" end)) end
return deep(100) == "b" and "CONTROL"
