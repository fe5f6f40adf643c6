local t = setmetatable({ keep = 1 }, { __mode = "k" })
setmetatable(t, nil)
setmetatable(t, { __mode = "v", tag = 1 })
return getmetatable(t).tag == 1 and t.keep == 1 and "CONTROL"
