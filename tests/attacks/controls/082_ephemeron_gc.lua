local e, key = setmetatable({}, { __mode = "k" }), {}
e[key] = { e }
for i = 1, 1e5 do local t = { i } end
return e[key] and "CONTROL"
