local t = setmetatable({}, { __mode = "kv" })
setmetatable(t, { __mode = "kv", tag = 2 })
for i = 1, 1e5 do local x = { i } end
return getmetatable(t).tag == 2 and "CONTROL"
