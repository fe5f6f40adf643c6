local s = ("x"):rep(1 << 20)
return #s:upper():reverse() == utf8.len(s) and s:sub(-1) == "x" and tonumber(s) == nil and "CONTROL"
