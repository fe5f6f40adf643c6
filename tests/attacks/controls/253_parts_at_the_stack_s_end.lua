local function deep(n, f) if n == 0 then return f() end return setmetatable({}, { __index = function() return deep(n - 1, f) end }).x end
return deep(50, function() return orcs.toml_encode { a = 1 } end) == "a = 1\n" and "CONTROL"
