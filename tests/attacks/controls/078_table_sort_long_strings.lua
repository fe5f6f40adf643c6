local t = { "b", "a", ("c"):rep(10000) }
table.sort(t)
return t[1] == "a" and "CONTROL"
